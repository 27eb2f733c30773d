/** The session's settings as a form: what is written there is asked for at once. */

import { $, make, show } from './dom.js';

const KEPT = 'vivavoce.settings';

/** Functions that the page itself runs. */
export const OWN = {
  local_time: {
    description: 'Tell the time and date at the place of the person.',
    parameters: { type: 'object', properties: {} },
    run: () => new Date().toLocaleString('en', { dateStyle: 'full', timeStyle: 'short' }),
  },
  page_colours: {
    description: 'Make the page dark or light.',
    parameters: {
      type: 'object',
      properties: { scheme: { type: 'string', enum: ['dark', 'light'] } },
      required: ['scheme'],
    },
    run: ({ scheme }) => {
      document.documentElement.dataset.scheme = scheme === 'light' ? 'light' : 'dark';
      dispatchEvent(new Event('recolour'));
      return `The page is ${scheme} now.`;
    },
  },
};

const OWN_TOOLS = JSON.stringify(
  Object.entries(OWN).map(([name, { description, parameters }]) => ({ type: 'function', name, description, parameters })),
  null,
  1,
);

export class Settings {
  /** @param {() => void} changed */
  constructor(changed) {
    this.tell = changed;
    this.form = $('settings-form');
    this.fields = this.form.elements;
    this.fields.tools.value = OWN_TOOLS;
    this.form.onsubmit = () => false;
    this.form.oninput = () => this.show();
    this.form.onchange = ({ target }) => target.name && this.form.checkValidity() && this.changed();
    $('reset').onclick = () => {
      this.form.reset();
      this.fields.tools.value = OWN_TOOLS;
      this.show();
      this.changed();
    };
    this.restore();
    this.show();
  }

  get model() {
    return this.fields.model.value.trim();
  }

  get byHand() {
    return this.fields.detection.value === 'none';
  }

  /** Show the values beside the sliders, what fits the kind of turns, and whether the tools can be read. */
  show() {
    const { speed, silence, threshold, detection, tools } = this.fields;
    const told = { speed: `${speed.value}×`, silence: `${silence.value} ms`, threshold: threshold.value };
    for (const output of this.form.querySelectorAll('[data-of]')) output.textContent = told[output.dataset.of];
    for (const label of this.form.querySelectorAll('[data-for]')) label.hidden = label.dataset.for !== detection.value;
    tools.setCustomValidity(readTools(tools.value) ? '' : 'The tools are no JSON list.');
    this.note('');
  }

  /** Say whether the settings are in effect, or what is wrong with them. */
  note(text) {
    show($('applied'), this.fields.tools.validationMessage || text);
  }

  /** Offer what the server tells of itself. */
  offer({ vivavoce, instructions }) {
    $('voices').replaceChildren(...(vivavoce?.voices ?? []).map((value) => make('option', { value })));
    if (instructions) this.fields.instructions.placeholder = instructions;
  }

  /** The settings as `session.update` takes them. @param {object} now those in effect */
  session(now) {
    const { instructions, voice, modality, speed, tools } = this.fields;
    const output = { format: PCM, speed: Number(speed.value) };
    if (voice.value && voice.value !== now?.audio?.output?.voice) output.voice = voice.value;
    const transcription = now?.audio?.input?.transcription ?? { model: 'gpt-4o-mini-transcribe' };
    return {
      type: 'realtime',
      ...(instructions.value ? { instructions: instructions.value } : {}),
      output_modalities: [modality.value],
      audio: { input: { format: PCM, transcription, turn_detection: this.detection() }, output },
      tools: readTools(tools.value) ?? [],
    };
  }

  detection() {
    const { detection, silence, threshold, eagerness } = this.fields;
    const type = detection.value;
    if (type === 'semantic_vad') return { type, eagerness: eagerness.value };
    if (type === 'none') return null;
    return { type, silence_duration_ms: Number(silence.value), threshold: Number(threshold.value) };
  }

  /** What only our own server understands. */
  extensions() {
    const { adaptive, considerate } = this.fields;
    return { partials: true, timings: true, adaptive: adaptive.checked, considerate: considerate.checked };
  }

  changed() {
    store(() => localStorage.setItem(KEPT, JSON.stringify([...this.fields].map(({ name, value, checked }) => [name, value, checked]))));
    this.tell();
  }

  restore() {
    for (const [name, value, checked] of store(() => JSON.parse(localStorage.getItem(KEPT))) ?? []) {
      if (name && this.fields[name]) Object.assign(this.fields[name], { value, checked });
    }
  }
}

const PCM = { type: 'audio/pcm', rate: 24000 };

const readTools = (text) => {
  try {
    const tools = JSON.parse(text || '[]');
    return Array.isArray(tools) && tools.every((tool) => tool?.type) ? tools : null;
  } catch {
    return null;
  }
};

/** Use what a browser may keep from us. */
const store = (use) => {
  try {
    return use();
  } catch {
    return null;
  }
};
