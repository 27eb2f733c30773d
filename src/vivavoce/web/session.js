/**
 * The client's half of a session, as a fold: what happened goes in, the new state and what to do come out.
 * No clock, no socket, no page: `node --test` runs it.
 *
 * `step(state, what)` takes a server event, or one of ours (their types begin with a dot), and returns effects:
 *   {do: 'send', event}, {do: 'play', item, audio}, {do: 'finish', item}, {do: 'hush'}, {do: 'pause'}, {do: 'resume'},
 *   {do: 'run', call}, {do: 'mark', kind, …}, {do: 'warn', message}
 */

import { duration } from './audio/pcm.js';

export const initial = () => ({
  settings: null, // the session in effect
  items: [], // in the conversation's order
  responses: new Map(), // by id: {status, item, timings, hushed, calls}
  speaking: false, // the person
  playing: null, // {item, ms} that is heard
  idle: true, // nothing is left to be heard
  paused: false, // over an overlap
  partial: null, // {item, text}
});

/** One word for what is going on. */
export const mood = (state) => {
  if (state.speaking) return 'hearing you';
  if (!state.idle && !state.paused) return 'speaking';
  return [...state.responses.values()].some(({ status }) => status === 'in_progress') ? 'thinking' : 'listening';
};

/** How many characters of an item's text were heard after so many milliseconds. */
export const heardLength = ({ text, marks, audioMs }, ms) => {
  if (ms >= audioMs) return text.length;
  const edges = [...marks, { ms: audioMs, length: text.length }];
  for (let i = 0; i + 1 < edges.length; i += 1) {
    const [from, to] = [edges[i], edges[i + 1]];
    if (ms < to.ms) {
      const share = Math.max(0, ms - from.ms) / Math.max(1, to.ms - from.ms);
      const cut = from.length + Math.floor(share * (to.length - from.length));
      const word = text.lastIndexOf(' ', cut);
      return cut === text.length ? cut : Math.max(from.length, word, 0);
    }
  }
  return 0;
};

const find = (state, id) => state.items.find((item) => item.id === id);

const message = (role, text) => ({
  type: 'message',
  role,
  content: [{ type: role === 'assistant' ? 'output_text' : 'input_text', text }],
});

const words = (item) =>
  (item.content ?? [])
    .map((part) => part.text ?? part.transcript ?? '')
    .filter(Boolean)
    .join(' ');

/** What the page knows of an item. */
const known = (raw) => ({
  id: raw.id,
  type: raw.type,
  role: raw.role ?? null,
  text: words(raw),
  status: raw.status ?? 'completed',
  audioMs: 0,
  marks: [], // from this millisecond on, the characters before this one are said
  heard: null, // characters, where not all of them were
  sources: [],
  call: raw.type === 'function_call' ? { id: raw.call_id, name: raw.name, arguments: raw.arguments ?? '' } : null,
  output: raw.type === 'function_call_output' ? { id: raw.call_id, text: raw.output } : null,
});

const insert = (state, raw, previous) => {
  const old = find(state, raw.id);
  if (old) {
    old.status = raw.status ?? old.status;
    old.text ||= words(raw);
    return old;
  }
  const item = known(raw);
  const at = previous === 'root' ? 0 : state.items.findIndex(({ id }) => id === previous) + 1;
  if (previous && at > 0) state.items.splice(at, 0, item);
  else state.items.push(item);
  return item;
};

const answer = (state, { response_id: id }) =>
  state.responses.get(id) ??
  state.responses.set(id, { id, status: 'in_progress', item: null, timings: null, hushed: false, calls: [] }).get(id);

/** Stop what is heard, and say how much of it was. */
const interrupt = (state) => {
  for (const response of state.responses.values()) {
    if (response.status === 'in_progress' || response.item === state.playing?.item) response.hushed = true;
  }
  const busy = !state.idle;
  state.paused = false;
  return busy ? [{ do: 'hush' }] : [];
};

/** Tell the model what the functions returned, once all have. */
const settle = (state, response) => {
  const { calls, status } = response;
  if (calls.length === 0 || status === 'in_progress' || calls.some(({ output }) => output === null)) return [];
  response.calls = [];
  return [{ do: 'send', event: { type: 'response.create' } }];
};

const handlers = {
  'session.created': (state, { session }) => {
    state.settings = session;
    return [];
  },
  'session.updated': (state, { session }) => {
    state.settings = session;
    return [];
  },

  'input_audio_buffer.speech_started': (state, { item_id: item, audio_start_ms: ms }) => {
    const effects = interrupt(state);
    state.speaking = true;
    state.partial = { item, text: '' };
    if (effects.length) effects.push({ do: 'mark', kind: 'interruption' });
    return [...effects, { do: 'mark', kind: 'speech', item, ms }];
  },
  'input_audio_buffer.speech_stopped': (state, { item_id: item, audio_end_ms: ms }) => {
    state.speaking = false;
    return [{ do: 'mark', kind: 'silence', item, ms }, { do: 'mark', kind: 'turn', item }];
  },
  'vivavoce.input_audio_buffer.overlap_started': (state, { item_id: item, audio_start_ms: ms }) => {
    state.paused = true;
    return [{ do: 'pause' }, { do: 'mark', kind: 'overlap', item, ms }];
  },
  'vivavoce.input_audio_buffer.overlap_ended': (state, { item_id: item }) => {
    state.paused = false;
    return [{ do: 'resume' }, { do: 'mark', kind: 'overlap-ended', item }];
  },
  'vivavoce.input_transcript.partial': (state, { item_id: item, transcript }) => {
    state.partial = { item, text: transcript };
    return [];
  },

  'conversation.item.added': (state, { item, previous_item_id: previous }) => {
    insert(state, item, previous);
    return [];
  },
  'conversation.item.created': (state, { item, previous_item_id: previous }) => {
    insert(state, item, previous);
    return [];
  },
  'conversation.item.done': (state, { item, previous_item_id: previous }) => {
    insert(state, item, previous).status = item.status ?? 'completed';
    return [];
  },
  'conversation.item.deleted': (state, { item_id: id }) => {
    state.items = state.items.filter((item) => item.id !== id);
    return [];
  },
  'conversation.item.truncated': (state, { item_id: id, audio_end_ms: ms }) => {
    const item = find(state, id);
    if (item) item.heard = heardLength(item, ms);
    return [];
  },
  'conversation.item.input_audio_transcription.delta': (state, { item_id: id, delta }) => {
    const item = find(state, id);
    if (item && delta) item.text += delta;
    return [];
  },
  'conversation.item.input_audio_transcription.completed': (state, { item_id: id, transcript }) => {
    const item = find(state, id);
    if (item) item.text = transcript;
    if (state.partial?.item === id) state.partial = null;
    return [];
  },
  'conversation.item.input_audio_transcription.failed': (state, { item_id: id, error }) => {
    if (state.partial?.item === id) state.partial = null;
    return [{ do: 'warn', message: error?.message ?? 'What you said could not be transcribed.' }];
  },

  'response.created': (state, { response }) => {
    answer(state, { response_id: response.id });
    return [];
  },
  'response.output_item.added': (state, event) => {
    const response = answer(state, event);
    if (event.item.type === 'message') response.item = event.item.id;
    return [];
  },
  'response.output_item.done': (state, event) => {
    const { item } = event;
    if (item.type !== 'function_call') return [];
    const shown = insert(state, item);
    shown.call = { id: item.call_id, name: item.name, arguments: item.arguments };
    answer(state, event).calls.push({ id: item.call_id, output: null });
    return [{ do: 'run', call: shown.call }];
  },
  'response.output_text.delta': (state, event) => spoken(state, event),
  'response.output_audio_transcript.delta': (state, event) => spoken(state, event),
  'response.output_audio.delta': (state, event) => {
    const item = find(state, event.item_id);
    if (!item || answer(state, event).hushed) return [];
    item.audioMs += duration(event.delta);
    state.idle = false;
    return [{ do: 'play', item: item.id, audio: event.delta }];
  },
  'response.output_audio.done': (state, event) =>
    answer(state, event).hushed ? [] : [{ do: 'finish', item: event.item_id }],
  'response.function_call_arguments.delta': (state, { item_id: id, delta }) => {
    const item = find(state, id);
    if (item?.call) item.call.arguments += delta;
    return [];
  },
  'vivavoce.response.timings': (state, event) => {
    answer(state, event).timings = event;
    return [{ do: 'mark', kind: 'timings', timings: event }];
  },
  'response.done': (state, { response: done }) => {
    const response = answer(state, { response_id: done.id });
    response.status = done.status;
    const failed = done.status === 'failed' ? done.status_details?.error?.message ?? 'The answer failed.' : null;
    return [...settle(state, response), ...(failed ? [{ do: 'warn', message: failed }] : [])];
  },
  error: (state, { error, message: flat }) => [{ do: 'warn', message: error?.message ?? flat ?? 'Something failed.' }],

  // What happens on the page ------------------------------------------------------------------------------------------

  '.report': (state, { heard, idle }) => {
    state.playing = heard;
    state.idle = idle;
    return [];
  },
  '.hushed': (state, { heard }) => {
    state.idle = true;
    const item = heard && find(state, heard.item);
    if (!item) return [];
    const ms = Math.min(Math.floor(heard.ms), Math.floor(item.audioMs));
    item.heard = heardLength(item, ms);
    const event = { type: 'conversation.item.truncate', item_id: item.id, content_index: 0, audio_end_ms: ms };
    return [{ do: 'send', event }];
  },
  '.stop': (state) => {
    const active = [...state.responses.values()].some(({ status }) => status === 'in_progress');
    const effects = interrupt(state);
    return active ? [...effects, { do: 'send', event: { type: 'response.cancel' } }] : effects;
  },
  '.typed': (state, { text }) => {
    const item = message('user', text);
    return [
      ...handlers['.stop'](state),
      { do: 'send', event: { type: 'conversation.item.create', item } },
      { do: 'send', event: { type: 'response.create' } },
    ];
  },
  '.returned': (state, { call, output }) => {
    const response = [...state.responses.values()].find(({ calls }) => calls.some(({ id }) => id === call));
    if (!response) return [];
    response.calls.find(({ id }) => id === call).output = output;
    const item = { type: 'function_call_output', call_id: call, output };
    return [{ do: 'send', event: { type: 'conversation.item.create', item } }, ...settle(state, response)];
  },
  '.lost': (state) => {
    for (const response of state.responses.values()) {
      if (response.status === 'in_progress') response.status = 'cancelled';
      response.calls = [];
    }
    state.speaking = false;
    state.partial = null;
    return state.idle ? [] : [{ do: 'hush' }];
  },
};

const spoken = (state, event) => {
  const item = find(state, event.item_id);
  if (!item) return [];
  item.marks.push({ ms: item.audioMs, length: item.text.length });
  item.text += event.delta;
  return [];
};

/** Take one thing that happened; `state` is changed in place, what to do is returned. */
export const step = (state, what) => handlers[what.type]?.(state, what) ?? [];

/** What tells a new session of the conversation so far: events in their order. */
export const recall = (state, most = 60) =>
  state.items
    .filter(({ type, text, call, output }) => (type === 'message' && text) || call || output)
    .slice(-most)
    .map(({ type, role, text, heard, call, output }) => {
      if (call) return { type: 'function_call', call_id: call.id, name: call.name, arguments: call.arguments };
      if (output) return { type: 'function_call_output', call_id: output.id, output: output.text };
      return { ...message(role, heard === null ? text : text.slice(0, heard)), type };
    })
    .map((item) => ({ type: 'conversation.item.create', item }));
