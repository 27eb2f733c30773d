// Before the page's own script: whatever it connects to the loudspeaker is kept as well, as 16-bit PCM of 24 kHz.
(() => {
  const frames = [];
  const connect = AudioNode.prototype.connect;
  AudioNode.prototype.connect = function (to, ...rest) {
    if (to instanceof AudioDestinationNode) {
      const tap = new AudioWorkletNode(this.context, 'capture', { numberOfOutputs: 0, channelCount: 1, channelCountMode: 'explicit' });
      tap.port.onmessage = ({ data }) => frames.push(new Uint8Array(data.pcm));
      connect.call(this, tap);
    }
    return connect.call(this, to, ...rest);
  };
  window.overheard = () => btoa(frames.map((frame) => String.fromCharCode(...frame)).join(''));
})();
