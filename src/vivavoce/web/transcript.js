/** The conversation as text: what was said, what of it was not heard, tool calls, sources. */

import { make } from './dom.js';
import { heardLength } from './session.js';

const NAMES = { user: 'You', assistant: 'Agent', system: 'System' };

export class Transcript {
  /** @param {HTMLElement} list @param {(call: string, output: string) => void} answer */
  constructor(list, answer) {
    this.list = list;
    this.answer = answer;
    this.shown = new Map(); // by id: {element, key}
    this.manual = new Set(); // calls that wait for the person
  }

  /** Let the person answer a call. */
  await(call) {
    this.manual.add(call);
  }

  /** Show the state of a session. */
  render(state) {
    const outputs = new Map(state.items.filter(({ output }) => output).map(({ output }) => [output.id, output.text]));
    const wanted = state.items.filter((item) => item.call || (item.type === 'message' && item.text));
    const elements = wanted.map((item) => this.element(item, outputs, state));
    if (state.partial?.text) elements.push(this.partial(state.partial));
    this.place(elements);
  }

  place(elements) {
    const { scrollTop, scrollHeight, clientHeight } = this.list;
    const atEnd = scrollTop + clientHeight > scrollHeight - 40;
    const keep = new Set(elements);
    for (const child of [...this.list.children]) if (!keep.has(child)) child.remove();
    elements.forEach((element, i) => {
      if (this.list.children[i] !== element) this.list.insertBefore(element, this.list.children[i] ?? null);
    });
    if (atEnd) this.list.scrollTop = this.list.scrollHeight;
  }

  element(item, outputs, state) {
    const heard = item.audioMs && !state.idle ? heardNow(item, state) : null;
    const output = item.call && (item.call.output ?? outputs.get(item.call.id));
    const key = JSON.stringify([item.text, item.heard, item.status, item.call, output, item.sources, heard, this.manual.has(item.call?.id)]);
    const old = this.shown.get(item.id);
    if (old?.key === key) return old.element;
    const element = old?.element ?? make('li', { data: { role: item.call ? 'tool' : item.role, item: item.id } });
    element.replaceChildren(...(item.call ? this.card(item, output) : this.words(item, heard)));
    this.shown.set(item.id, { element, key });
    return element;
  }

  words({ role, text, heard, sources }, now) {
    const cut = heard ?? now ?? text.length;
    const rest = text.slice(cut);
    const kind = heard === null ? make('span', { className: 'coming' }, rest) : make('s', { title: 'not heard' }, rest);
    return [
      make('b', {}, NAMES[role] ?? role),
      make('p', {}, text.slice(0, cut), rest && kind),
      ...(sources.length ? [make('ul', { className: 'sources' }, ...sources.map(source))] : []),
    ];
  }

  partial({ item, text }) {
    this.live ??= make('li', { data: { role: 'user' }, className: 'partial' });
    this.live.dataset.item = item;
    this.live.replaceChildren(make('b', {}, 'You'), make('p', {}, text, ' …'));
    return this.live;
  }

  card({ call }, output) {
    const waits = this.manual.has(call.id) && output === undefined;
    const state = waits ? 'waits for you' : output === undefined ? 'runs' : 'done';
    const summary = make('summary', {}, make('code', {}, call.name), ` ${state}`);
    const details = make('details', { className: 'card', open: waits }, summary, make('pre', {}, pretty(call.arguments)));
    if (output !== undefined) details.append(make('pre', {}, pretty(output)));
    else if (waits) details.append(this.form(call));
    return [make('b', {}, 'Tool'), details];
  }

  form(call) {
    const field = make('input', { aria: { label: `Result of ${call.name}` }, placeholder: 'result', required: true });
    const form = make('form', {}, field, make('button', {}, 'Return'));
    form.onsubmit = (event) => {
      event.preventDefault();
      this.manual.delete(call.id);
      this.answer(call.id, field.value);
    };
    return form;
  }
}

/** How much of an answer has been heard while it is being spoken. */
const heardNow = (item, { playing, items }) => {
  if (playing?.item === item.id) return heardLength(item, playing.ms);
  return item === items.findLast(({ audioMs }) => audioMs) ? 0 : null;
};

const source = ({ title, url, quote }) =>
  make('li', { title: quote ?? '' }, url?.match(/^https?:/) ? make('a', { href: url, rel: 'noreferrer', target: '_blank' }, title || url) : title);

const pretty = (text) => {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
};
