/** The loudspeaker: pieces of items at the protocol's rate in, sound at the context's rate out, and reports of it. */

import { RATE, peak, toFloat } from './pcm.js';
import { Queue } from './queue.js';
import { Resampler } from './resample.js';

const REPORT_S = 0.02;

class Playback extends AudioWorkletProcessor {
  constructor() {
    super();
    this.queue = new Queue(sampleRate);
    this.resampler = new Resampler(RATE, sampleRate);
    this.item = null; // whose sound the resampler holds
    this.pushed = 0;
    this.level = 0;
    this.reported = 0;
    this.port.onmessage = ({ data }) => this[data.type](data);
  }

  push({ item, pcm }) {
    this.pushed += 1;
    if (item !== this.item) {
      this.resampler.reset();
      this.item = item;
    }
    this.queue.push(item, this.resampler.feed(toFloat(new Int16Array(pcm))));
  }

  finish({ item }) {
    if (item === this.item) {
      this.queue.push(item, this.resampler.feed(new Float32Array(64))); // what the resampler holds back
      this.item = null;
    }
    this.queue.finish(item);
  }

  hush() {
    this.item = null;
    this.port.postMessage({ type: 'hushed', heard: this.queue.hush(), time: currentTime });
  }

  pause() {
    this.queue.paused = true;
  }

  resume() {
    this.queue.paused = false;
  }

  process(_, [channels]) {
    const [out] = channels;
    this.queue.pull(out);
    for (const other of channels.slice(1)) other.set(out);
    this.level = Math.max(this.level, peak(out));
    if (currentTime - this.reported >= REPORT_S) this.report();
    return true;
  }

  report() {
    const { idle, heard, underruns } = this.queue;
    const { pushed, level } = this;
    this.port.postMessage({ type: 'report', idle, heard, underruns, pushed, level, time: currentTime });
    this.reported = currentTime;
    this.level = 0;
  }
}

registerProcessor('playback', Playback);
