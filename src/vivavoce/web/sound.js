/** Microphone and loudspeaker of the page, on one clock: that of the audio context. */

import { fromBase64, toBase64 } from './audio/pcm.js';

const MOST_LATE_S = 0.5; // some browsers tell nonsense at first

const at = (name) => new URL(`./audio/${name}.js`, import.meta.url);

export class Sound {
  /**
   * @param {object} on `frame({audio, time, level})`: 20 ms of the microphone, base64; `report(report)`, `hushed(heard)`;
   *   `gone()`: the microphone has been unplugged
   */
  constructor(on) {
    this.on = on;
    this.muted = false;
    this.stream = null;
  }

  get now() {
    return this.context?.currentTime ?? 0;
  }

  /** Open both; asks for permission. @param {{input?: string, output?: string}} devices ids */
  async open({ input, output }) {
    await this.speak();
    await this.speakTo(output);
    await this.listenTo(input);
  }

  /** Open the loudspeaker only. */
  async speak() {
    this.context ??= new AudioContext({ latencyHint: 'interactive' });
    if (!this.playback) {
      await Promise.all(['capture-worklet', 'playback-worklet'].map((name) => this.context.audioWorklet.addModule(at(name))));
      this.playback = new AudioWorkletNode(this.context, 'playback', { numberOfInputs: 0, outputChannelCount: [2] });
      this.playback.port.onmessage = ({ data }) => this.played(data);
      this.playback.connect(this.context.destination);
    }
    this.context.resume(); // waits for ever where there is no loudspeaker
  }

  /** Pass on what the loudspeaker says; what left the page is heard a little later. */
  played({ type, heard, ...rest }) {
    const late = Math.min(this.context.outputLatency || 0, MOST_LATE_S) * 1000;
    const earlier = ({ item, ms }) => ({ item, ms: Math.max(0, ms - late) });
    if (type === 'hushed') this.on.hushed(heard.map(earlier));
    else this.on.report({ heard: heard && earlier(heard), ...rest });
  }

  /** Use another microphone; '' for the usual one. */
  async listenTo(id = '') {
    const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };
    if (id) audio.deviceId = { exact: id };
    const stream = await navigator.mediaDevices.getUserMedia({ audio });
    this.silence();
    this.stream = stream;
    stream.getAudioTracks()[0].addEventListener('ended', () => this.stream === stream && this.on.gone());
    this.capture = new AudioWorkletNode(this.context, 'capture', { numberOfOutputs: 0, channelCount: 1, channelCountMode: 'explicit' });
    this.capture.port.onmessage = ({ data }) => this.hear(data);
    this.source = this.context.createMediaStreamSource(stream);
    this.source.connect(this.capture);
  }

  /** Use another loudspeaker, where the browser can. */
  async speakTo(id = '') {
    if (this.context?.setSinkId && (id || this.context.sinkId)) await this.context.setSinkId(id);
  }

  hear({ pcm, time, level }) {
    if (this.muted) new Int16Array(pcm).fill(0);
    this.on.frame({ audio: toBase64(pcm), time, level: this.muted ? 0 : level });
  }

  play(item, audio) {
    const pcm = fromBase64(audio);
    this.playback?.port.postMessage({ type: 'push', item, pcm }, [pcm]);
  }

  /** 'finish' with an item, 'hush', 'pause', 'resume'. */
  tell(type, item) {
    this.playback?.port.postMessage({ type, item });
  }

  silence() {
    this.source?.disconnect();
    this.capture?.disconnect();
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
  }

  /** Close the microphone; what is still to be heard is forgotten. */
  async close() {
    this.tell('hush');
    this.silence();
    await this.context?.suspend();
  }
}
