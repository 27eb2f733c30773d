/** The microphone: sound at the context's rate in, frames of 20 ms at the protocol's rate out, each with its time. */

import { RATE, peak, toInt16 } from './pcm.js';
import { Resampler } from './resample.js';

const FRAME = RATE / 50;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate, RATE);
    this.frame = new Float32Array(FRAME);
    this.filled = 0;
  }

  process([[samples]]) {
    if (!samples) return true;
    for (const sample of this.resampler.feed(samples)) {
      this.frame[this.filled] = sample;
      this.filled += 1;
      if (this.filled === FRAME) this.send();
    }
    return true;
  }

  /** Post the frame; `time` is that of its first sample, on the context's clock. */
  send() {
    const pcm = toInt16(this.frame).buffer;
    const time = currentTime - FRAME / RATE;
    this.port.postMessage({ pcm, time, level: peak(this.frame) }, [pcm]);
    this.filled = 0;
  }
}

registerProcessor('capture', Capture);
