/** The raw events, both directions: filtered, paused, expanded, copied, exported. */

import { bytesOf } from './audio/pcm.js';
import { make, save } from './dom.js';

const KEPT = 5000;
const DRAWN = 400;
const LOUD = new Set(['input_audio_buffer.append', 'response.output_audio.delta']);

/** An event without its sound, as the session log writes it. */
export const soundless = (event) => {
  const field = { 'input_audio_buffer.append': 'audio', 'response.output_audio.delta': 'delta' }[event.type];
  if (!field || typeof event[field] !== 'string') return event;
  return { ...event, [field]: { bytes: bytesOf(event[field]) } };
};

export class Log {
  /** @param {HTMLElement} list @param {HTMLElement} status */
  constructor(list, status) {
    this.list = list;
    this.status = status;
    this.began = performance.now();
    this.head = {};
    this.lines = []; // {t, way: 'in' | 'out', event}
    this.filter = '';
    this.loud = false; // whether sound is listed
    this.paused = false;
    this.fresh = [];
  }

  clear() {
    this.lines = [];
    this.redraw();
  }

  /** @param {'in' | 'out'} way */
  add(way, event, t = (performance.now() - this.began) / 1000) {
    const line = { t, way, event: soundless(event) };
    this.lines.push(line);
    if (this.lines.length > KEPT) this.lines.splice(0, KEPT / 10);
    if (!this.paused && this.fits(line)) this.fresh.push(line);
  }

  /** List other ones. @param {{filter?: string, loud?: boolean}} wanted */
  look(wanted) {
    Object.assign(this, wanted);
    this.redraw();
  }

  fits({ way, event }) {
    if (!this.loud && LOUD.has(event.type)) return false;
    return !this.filter || `${way} ${event.type} ${event.item_id ?? ''} ${event.response_id ?? ''}`.includes(this.filter);
  }

  /** Put what is new on the page; called once a frame. */
  draw() {
    if (!this.fresh.length) return;
    const atEnd = this.list.scrollTop + this.list.clientHeight > this.list.scrollHeight - 40;
    this.list.append(...this.fresh.slice(-DRAWN).map(row));
    this.fresh = [];
    while (this.list.children.length > DRAWN) this.list.firstChild.remove();
    if (atEnd) this.list.scrollTop = this.list.scrollHeight;
    this.count();
  }

  redraw() {
    this.list.replaceChildren();
    this.fresh = this.lines.filter((line) => this.fits(line)).slice(-DRAWN);
    this.draw();
    this.count();
  }

  count() {
    this.status.textContent = `${this.lines.length} events${this.paused ? ', paused' : ''}`;
  }

  pause(paused) {
    this.paused = paused;
    if (!paused) this.redraw();
    this.count();
  }

  /** JSONL in the format of `vivavoce talk --record`. */
  text() {
    const head = { log: 1, vivavoce: 'console', ...this.head };
    const lines = this.lines.map(({ t, way, event }) => ({ t: Number(t.toFixed(6)), [way]: event }));
    const end = { t: lines.at(-1)?.t ?? 0, end: 'The conversation is over.' };
    return [head, ...lines, end].map((line) => `${JSON.stringify(line)}\n`).join('');
  }

  export() {
    save('session.jsonl', this.text());
  }
}

/** What tells an event from others of its type. */
const gist = ({ delta, transcript, text, error, item, response, total_ms: ms }) => {
  if (ms) return `${Math.round(ms)} ms`;
  const told = delta ?? transcript ?? text ?? error?.message ?? item?.type ?? response?.status ?? '';
  return typeof told === 'string' ? told : `${told.bytes} bytes`;
};

const row = ({ t, way, event }) => {
  const arrow = make('span', { className: way, title: way === 'in' ? 'from the server' : 'to the server' }, way === 'in' ? '↓' : '↑');
  const summary = make('summary', {}, make('time', {}, t.toFixed(3)), arrow, make('code', {}, event.type), make('small', {}, gist(event)));
  const details = make('details', {}, summary);
  details.ontoggle = () => {
    if (details.children.length > 1) return;
    const text = JSON.stringify(event, null, 2);
    const copy = make('button', { type: 'button' }, 'Copy');
    copy.onclick = async () => {
      await navigator.clipboard.writeText(text);
      copy.textContent = 'Copied';
    };
    details.append(copy, make('pre', {}, text));
  };
  return make('li', {}, details);
};
