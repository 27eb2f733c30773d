/**
 * What is to be heard, in order: pieces of items, at the context's rate. No clicks: what stops in the middle fades out,
 * what goes on fades in. An item begins when enough of it is there that the next piece will be in time; how much that is
 * follows from how often it was not: more after a gap, less after an item without one.
 */

const LEAST_S = 0.04;
const MOST_S = 0.4;
const CALMER = 0.9; // an item without a gap lets the next begin so much sooner
const FADE_S = 0.005;

export class Queue {
  /** @param {number} rate Hz */
  constructor(rate) {
    this.rate = rate;
    this.items = []; // {id, pieces, offset, played, queued, finished, begun}
    this.lead = LEAST_S;
    this.paused = false;
    this.fade = 1 / (FADE_S * rate);
    this.gain = 0; // rises to 1 where something sounds
    this.tail = 0; // what sounded last, which fades where nothing follows
    this.underruns = 0;
    this.last = null; // {item, ms} of what was heard last
  }

  push(id, samples) {
    if (samples.length === 0) return;
    let item = this.items.at(-1);
    if (!item || item.id !== id) {
      item = { id, pieces: [], offset: 0, played: 0, queued: 0, finished: false, begun: false };
      this.items.push(item);
    }
    item.pieces.push(samples);
    item.queued += samples.length;
  }

  finish(id) {
    for (const item of this.items) if (item.id === id) item.finished = true;
  }

  /** Forget everything and return how much of each item was heard that was not heard to its end. */
  hush() {
    const heard = this.items.map(({ id, played }) => ({ item: id, ms: this.ms(played) }));
    this.items = [];
    this.paused = false;
    return heard;
  }

  get idle() {
    return this.items.length === 0;
  }

  /** What is being heard, or was last. */
  get heard() {
    const [item] = this.items;
    return item?.played ? { item: item.id, ms: this.ms(item.played) } : this.last;
  }

  ms(samples) {
    return (samples * 1000) / this.rate;
  }

  /** Fill a block. */
  pull(out) {
    for (let i = 0; i < out.length; i += 1) {
      const sample = this.paused ? null : this.next();
      if (sample === null) {
        this.tail = Math.abs(this.tail) < 1e-4 ? 0 : this.tail * (1 - 3 * this.fade);
        this.gain = 0;
      } else {
        this.gain = Math.min(1, this.gain + this.fade);
        this.tail = this.tail * (1 - this.gain) + sample * this.gain;
      }
      out[i] = this.tail;
    }
  }

  next() {
    for (;;) {
      const [item] = this.items;
      if (!item) return null;
      if (item.queued === 0) {
        if (!item.finished && item === this.items.at(-1)) {
          if (item.begun) this.starve(item);
          return null;
        }
        this.last = { item: item.id, ms: this.ms(item.played) };
        this.lead = Math.max(LEAST_S, this.lead * CALMER);
        this.items.shift();
        continue;
      }
      if (!item.begun && !this.ready(item)) return null;
      item.begun = true;
      return this.take(item);
    }
  }

  ready(item) {
    return item.finished || item !== this.items.at(-1) || item.queued >= this.lead * this.rate;
  }

  take(item) {
    const [piece] = item.pieces;
    const sample = piece[item.offset];
    item.offset += 1;
    item.played += 1;
    item.queued -= 1;
    if (item.offset === piece.length) {
      item.pieces.shift();
      item.offset = 0;
    }
    return sample;
  }

  starve(item) {
    item.begun = false;
    this.underruns += 1;
    this.lead = Math.min(MOST_S, this.lead * 2);
  }
}
