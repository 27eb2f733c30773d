/** Where the time of each turn went: a bar a turn, by stage, against a budget. */

import { make } from './dom.js';

export const BUDGET_MS = 800;

const STAGES = [
  ['waiting_ms', 'waiting', 'until it was clear that you had finished'],
  ['transcription_ms', 'transcription', 'until your words were known'],
  ['first_token_ms', 'first token', 'until the model began to answer'],
  ['first_sentence_ms', 'first sentence', 'until there was something to say'],
  ['synthesis_ms', 'synthesis', 'until there was sound'],
  ['network_ms', 'network', 'to the server and back'],
  ['playout_ms', 'playout', 'from the wire to the loudspeaker'],
];
const KEPT = 20;

export class Latency {
  /** @param {HTMLElement} list @param {HTMLElement} legend */
  constructor(list, legend) {
    this.list = list;
    this.rows = new Map();
    this.most = BUDGET_MS * 2; // what the width of a bar stands for
    this.count = 0;
    legend.append(
      ...STAGES.map(([key, name, title]) => make('li', { title, data: { stage: key } }, name)),
      make('li', { data: { stage: 'budget' } }, `budget ${BUDGET_MS} ms`),
    );
  }

  clear() {
    this.list.replaceChildren();
    this.rows.clear();
    this.count = 0;
  }

  /** Show the account of a response; a second call with more replaces the first. */
  set(id, timings) {
    const stages = STAGES.filter(([key]) => Number.isFinite(timings[key])).map(([key, name]) => ({ key, name, ms: Math.max(0, timings[key]) }));
    const total = stages.reduce((sum, { ms }) => sum + ms, 0);
    if (!total) return;
    if (!this.rows.has(id)) this.rows.set(id, { number: (this.count += 1), element: make('li') });
    const { number, element } = this.rows.get(id);
    this.most = Math.max(this.most, total);
    this.list.style.setProperty('--most', this.most);
    const bar = make('span', { className: 'bar', aria: { hidden: 'true' } }, ...stages.map(piece));
    const account = stages.map(({ name, ms }) => `${name} ${Math.round(ms)}`).join(', ');
    element.title = account;
    element.replaceChildren(
      make('span', { className: 'turn' }, `${number}`),
      bar,
      make('span', { className: total > BUDGET_MS ? 'total over' : 'total' }, `${Math.round(total)} ms`),
      make('span', { className: 'spoken-only' }, `: ${account}`),
    );
    if (!element.isConnected) this.list.prepend(element);
    while (this.list.children.length > KEPT) this.list.lastChild.remove();
  }
}

const piece = ({ key, ms }) => {
  const element = make('i', { data: { stage: key } });
  element.style.setProperty('--ms', ms);
  return element;
};
