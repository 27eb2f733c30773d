/** The conversation as text: what was said, what of it was not heard, tool calls, sources. */

import { make } from './dom.js';

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
    const heard = state.playing?.item === item.id && !state.idle ? item.audioMs && state.playing.ms : null;
    const output = item.call && (item.call.output ?? outputs.get(item.call.id));
    const key = JSON.stringify([item.text, item.heard, item.status, item.call, output, item.sources, heard && Math.round(heard / 100)]);
    const old = this.shown.get(item.id);
    if (old?.key === key) return old.element;
    const element = old?.element ?? make('li', { data: { role: item.call ? 'tool' : item.role, item: item.id } });
    element.replaceChildren(...(item.call ? this.card(item, output) : this.words(item)));
    this.shown.set(item.id, { element, key });
    return element;
  }

  words(item) {
    const cut = item.heard ?? item.text.length;
    const unheard = item.text.slice(cut);
    return [
      make('b', {}, NAMES[item.role] ?? item.role),
      make('p', {}, item.text.slice(0, cut), unheard && make('s', { title: 'not heard' }, unheard)),
      item.sources.length ? make('ul', { className: 'sources' }, ...item.sources.map(source)) : null,
    ].filter(Boolean);
  }

  partial({ item, text }) {
    this.live ??= make('li', { data: { role: 'user' }, className: 'partial' });
    this.live.dataset.item = item;
    this.live.replaceChildren(make('b', {}, 'You'), make('p', {}, text, ' …'));
    return this.live;
  }

  card({ call }, output) {
    const state = output === undefined ? 'running' : 'done';
    const body = [make('pre', {}, pretty(call.arguments))];
    if (output !== undefined) body.push(make('pre', {}, pretty(output)));
    else if (this.manual.has(call.id)) body.push(this.form(call));
    const summary = make('summary', {}, make('code', {}, call.name), ` ${state}`);
    return [make('b', {}, 'Tool'), make('details', { className: 'card', open: this.manual.has(call.id) }, summary, ...body)];
  }

  form(call) {
    const field = make('input', { aria: { label: `Result of ${call.name}` }, placeholder: 'result', required: true });
    const form = make('form', {}, field, make('button', {}, 'Return'));
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.manual.delete(call.id);
      this.answer(call.id, field.value);
    });
    return form;
  }
}

const source = ({ title, url, quote }) =>
  make('li', { title: quote ?? '' }, url?.match(/^https?:/) ? make('a', { href: url, rel: 'noreferrer', target: '_blank' }, title || url) : title);

const pretty = (text) => {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
};
