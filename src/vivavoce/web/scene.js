/** What a session looks like, on one time axis: the same for one that happens and for one that is replayed. */

import { initial, step } from './session.js';

export class Scene {
  /** @param {{timeline: Timeline, latency: Latency}} views */
  constructor({ timeline, latency }) {
    this.timeline = timeline;
    this.latency = latency;
    this.clear();
  }

  clear() {
    this.state = initial();
    this.timeline.forget();
    this.latency.clear();
    this.turns = new Map(); // by item: {at, network}
    this.arrived = new Map(); // when an item's first sound came
    this.begun = new Map(); // when it was first heard
    this.begin();
  }

  /** A session begins: the server counts its milliseconds from here. */
  begin() {
    this.sentMs = 0;
    this.zero = null;
  }

  /** Note that the microphone's sound from `time` on was sent. */
  sent(time, ms) {
    this.zero = time - this.sentMs / 1000;
    this.sentMs += ms;
  }

  /** When the session's millisecond was, on the axis. */
  at(ms, time) {
    return ms === undefined || this.zero === null ? time : this.zero + ms / 1000;
  }

  /** Take what happened at a time and return what to do. */
  take(what, time) {
    const { type, heard, item_id: item } = what;
    if (type === 'response.output_audio.delta' && !this.arrived.has(item)) this.arrived.set(item, time);
    const effects = step(this.state, what);
    if (type === '.report' && heard && !this.begun.has(heard.item)) this.first(heard, time);
    for (const effect of effects) if (effect.do === 'mark') this.mark(effect, time);
    return effects.filter((effect) => effect.do !== 'mark');
  }

  first({ item, ms }, time) {
    this.begun.set(item, time - ms / 1000);
    for (const response of this.state.responses.values()) if (response.item === item) this.account(response);
  }

  mark({ kind, ms, item, response }, time) {
    const at = this.at(ms, time);
    const { timeline } = this;
    if (kind === 'speech') timeline.end('overlap', time);
    if (kind === 'speech' || kind === 'overlap') timeline.begin(kind, at);
    else if (kind === 'overlap-ended') timeline.end('overlap', at);
    else if (kind === 'interruption') timeline.mark(kind, at);
    else timeline.end('speech', at);
    if (kind === 'turn') {
      timeline.mark(kind, at);
      this.turns.set(item, { at, network: (time - at) * 1000, span: timeline.last('speech') });
    }
    if (kind === 'timings') {
      this.account(response);
      this.trace(response);
    }
  }

  /** Show what the account says of the turn: when speech really ended, and when the answer was begun ahead. */
  trace({ turn, timings }) {
    const known = this.turns.get(turn);
    if (!known) return;
    if (known.span) known.span.to = known.at - (timings.waiting_ms ?? 0) / 1000;
    if (timings.ahead_ms) this.timeline.begin('ahead', known.at - timings.ahead_ms / 1000, known.at);
  }

  account({ id, item, turn, timings }) {
    if (!timings) return;
    const playout = (this.begun.get(item) - this.arrived.get(item)) * 1000;
    this.latency.set(id, {
      ...timings,
      network_ms: this.turns.get(turn)?.network,
      playout_ms: playout, // not a number where nothing has been heard
    });
  }
}
