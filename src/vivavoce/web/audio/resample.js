/** Streaming resampler: a windowed sinc at any ratio, continuous over the pieces that it is fed. */

const HALF = 12; // zero crossings on either side
const STEPS = 256; // positions of the table between two crossings
const PASS = 0.94; // of the lower Nyquist frequency

/** The kernel from its centre outwards: a sinc under a Blackman window. */
const TABLE = Float32Array.from({ length: HALF * STEPS + 2 }, (_, i) => {
  const x = i / STEPS;
  if (x >= HALF) return 0;
  const window = 0.42 + 0.5 * Math.cos((Math.PI * x) / HALF) + 0.08 * Math.cos((2 * Math.PI * x) / HALF);
  return x === 0 ? 1 : (Math.sin(Math.PI * x) / (Math.PI * x)) * window;
});

const kernel = (distance) => {
  const place = Math.abs(distance) * STEPS;
  const below = Math.floor(place);
  if (below >= HALF * STEPS) return 0;
  return TABLE[below] + (TABLE[below + 1] - TABLE[below]) * (place - below);
};

export class Resampler {
  /**
   * @param {number} from rate of what is fed, Hz
   * @param {number} to rate of what comes out, Hz
   */
  constructor(from, to) {
    this.step = from / to;
    this.scale = Math.min(1, to / from) * PASS;
    this.reach = Math.ceil(HALF / this.scale);
    this.reset();
  }

  /** Forget what was fed. */
  reset() {
    this.held = new Float32Array(this.reach); // silence before the first sample
    this.next = this.reach; // where the next output sample stands, in samples of `held`
  }

  /** Take samples and return those that are known now; the last few wait for what follows. */
  feed(samples) {
    if (this.step === 1) return samples;
    const held = new Float32Array(this.held.length + samples.length);
    held.set(this.held);
    held.set(samples, this.held.length);
    const last = held.length - this.reach;
    const out = new Float32Array(Math.max(0, Math.ceil((last - this.next) / this.step)));
    let place = this.next;
    for (let i = 0; i < out.length; i += 1, place += this.step) out[i] = this.at(held, place);
    const done = Math.max(0, Math.floor(place) - this.reach);
    this.held = held.slice(done);
    this.next = place - done;
    return out;
  }

  at(held, place) {
    let sum = 0;
    const end = Math.min(held.length - 1, Math.floor(place) + this.reach);
    for (let i = Math.max(0, Math.ceil(place) - this.reach); i <= end; i += 1) {
      sum += held[i] * kernel((i - place) * this.scale);
    }
    return sum * this.scale;
  }
}
