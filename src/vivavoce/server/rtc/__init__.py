"""The second way in: sound over WebRTC, events over its data channel."""
