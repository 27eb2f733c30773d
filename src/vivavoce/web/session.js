/**
 * The client's half of a session, as a fold: what happened goes in, the new state and what to do come out.
 * No clock, no socket, no page: `node --test` runs it.
 *
 * `step(state, what)` takes a server event, or one of ours (their types begin with a dot), and returns effects:
 *   {do: 'send', event}, {do: 'play', item, audio}, {do: 'finish', item}, {do: 'hush'}, {do: 'pause'}, {do: 'resume'},
 *   {do: 'run', call}, {do: 'say', who, text}: a message is whole, {do: 'mark', kind, …}, {do: 'warn', message}
 */

import { RATE, duration } from './audio/pcm.js';

const QUIET = new Set([
  'response_cancel_not_active', // it ended while we asked for its end
  'conversation_already_has_active_response',
  'item_truncate_invalid_item_id',
]);

export const initial = () => ({
  settings: null, // the session in effect
  items: [], // in the conversation's order
  responses: new Map(), // by id: {id, status, item, turn, timings, hushed, calls}
  speaking: false, // the person
  turn: null, // item of the turn that ended last and has no answer yet
  playing: null, // {item, ms} that is heard, or was last
  pushed: 0, // pieces of sound given to the loudspeaker
  idle: true, // nothing is left to be heard
  paused: false, // over an overlap
  partial: null, // {item, text}
  wanted: false, // an answer, once the one in the making has ended
});

const active = (state) => [...state.responses.values()].some(({ status }) => status === 'in_progress');

/** One word for what is going on. */
export const mood = (state) => {
  if (state.speaking) return 'hearing you';
  if (!state.idle && !state.paused) return 'speaking';
  return active(state) || state.wanted ? 'thinking' : 'listening';
};

/** How many characters of an item's text were heard after so many milliseconds; whole words. */
export const heardLength = ({ text, marks, audioMs }, ms) => {
  if (ms >= audioMs) return text.length;
  const edges = [...marks, { ms: audioMs, length: text.length }];
  for (let i = 0; i + 1 < edges.length; i += 1) {
    const [from, to] = [edges[i], edges[i + 1]];
    if (ms < to.ms) {
      const share = Math.max(0, ms - from.ms) / (to.ms - from.ms);
      const cut = from.length + Math.floor(share * (to.length - from.length));
      return Math.max(from.length, text.lastIndexOf(' ', cut), 0);
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

const words = ({ content }) =>
  (content ?? [])
    .map((part) => part.text ?? part.transcript)
    .filter(Boolean)
    .join(' ');

const sources = ({ content }) =>
  (content ?? [])
    .flatMap((part) => part.annotations ?? [])
    .map(({ title, filename, url, file_id, quote }) => ({ title: title || filename || url || file_id, url, quote }));

/** What the page knows of an item. */
const known = (raw) => ({
  id: raw.id,
  type: raw.type,
  role: raw.role ?? null,
  text: words(raw),
  status: raw.status ?? 'completed',
  audioMs: 0,
  marks: [], // from this millisecond on, the characters from this one on are said
  heard: null, // characters, where not all of them were
  sources: sources(raw),
  call: callOf(raw),
  output: raw.type === 'function_call_output' ? { id: raw.call_id, text: raw.output } : null,
});

/** A function that we run, or a tool that the server runs. */
const callOf = (raw) => {
  const { type, name, arguments: args = '' } = raw;
  if (type === 'function_call') return { id: raw.call_id, name, arguments: args };
  if (type !== 'mcp_call') return null;
  const output = raw.error ? raw.error.message ?? 'It failed.' : raw.output ?? undefined;
  return { id: raw.id, name: `${raw.server_label}: ${name}`, arguments: args, output };
};

const insert = (state, raw, previous) => {
  const old = find(state, raw.id);
  if (old) {
    old.status = raw.status ?? old.status;
    old.text ||= words(raw);
    const found = sources(raw);
    if (found.length) old.sources = found;
    if (old.call) old.call = callOf(raw);
    return old;
  }
  const item = known(raw);
  const at = previous === 'root' ? 0 : state.items.findIndex(({ id }) => id === previous) + 1;
  if (previous === 'root' || at > 0) state.items.splice(at, 0, item);
  else state.items.push(item);
  return item;
};

const inserted = (state, { item, previous_item_id: previous }) => {
  insert(state, item, previous);
};

const answer = (state, id) => {
  const fresh = { id, status: 'in_progress', item: null, turn: null, timings: null, hushed: false, calls: [] };
  if (!state.responses.has(id)) state.responses.set(id, fresh);
  return state.responses.get(id);
};

const send = (event) => ({ do: 'send', event });
const mark = (kind, more = {}) => ({ do: 'mark', kind, ...more });

/** Let what is heard, and what would be, fall silent. */
const interrupt = (state) => {
  for (const response of state.responses.values()) {
    if (response.status === 'in_progress' || response.item === state.playing?.item) response.hushed = true;
  }
  state.paused = false;
  return state.idle ? [] : [{ do: 'hush' }, mark('interruption')];
};

/** Ask for an answer, now or once the one in the making has ended. */
const create = (state) => {
  state.wanted = active(state);
  return state.wanted ? [] : [send({ type: 'response.create' })];
};

/** Go on with an answer once all that it called has returned. */
const settle = (state, response) => {
  const { calls, status } = response;
  if (!calls.length || status === 'in_progress' || calls.some(({ output }) => output === null)) return [];
  response.calls = [];
  return status === 'completed' ? create(state) : [];
};

const spoken = (state, { item_id: id, delta }) => {
  const item = find(state, id);
  if (!item) return;
  item.marks.push({ ms: item.audioMs, length: item.text.length });
  item.text += delta;
};

const configured = (state, { session }) => void (state.settings = session);

const rate = (state) => state.settings?.audio?.output?.format?.rate ?? RATE;

const handlers = {
  'session.created': configured,
  'session.updated': configured,

  'input_audio_buffer.speech_started': (state, { item_id: item, audio_start_ms: ms }) => {
    const polite = state.settings?.audio?.input?.turn_detection?.interrupt_response === false;
    state.speaking = true;
    state.partial = { item, text: '' };
    return [...(polite ? [] : interrupt(state)), mark('speech', { ms })];
  },
  'input_audio_buffer.speech_stopped': (state, { item_id: item, audio_end_ms: ms }) => {
    state.speaking = false;
    state.turn = item;
    return [mark('turn', { item, ms })];
  },
  'vivavoce.input_audio_buffer.overlap_started': (state, { audio_start_ms: ms }) => {
    state.paused = true;
    return [{ do: 'pause' }, mark('overlap', { ms })];
  },
  'vivavoce.input_audio_buffer.overlap_ended': (state) => {
    state.paused = false;
    return [{ do: 'resume' }, mark('overlap-ended')];
  },
  'vivavoce.input_transcript.partial': (state, { item_id: item, transcript }) => {
    state.partial = { item, text: transcript };
  },

  'conversation.item.added': inserted,
  'conversation.item.done': inserted,
  'conversation.item.deleted': (state, { item_id: id }) => {
    state.items = state.items.filter((item) => item.id !== id);
  },
  'conversation.item.truncated': (state, { item_id: id, audio_end_ms: ms }) => {
    const item = find(state, id);
    if (item) item.heard = heardLength(item, ms);
  },
  'conversation.item.input_audio_transcription.delta': (state, { item_id: id, delta }) => {
    const item = find(state, id);
    if (item && delta) item.text += delta;
  },
  'conversation.item.input_audio_transcription.completed': (state, { item_id: id, transcript }) => {
    const item = find(state, id);
    if (item) item.text = transcript;
    if (state.partial?.item === id) state.partial = null;
    return [{ do: 'say', who: 'user', text: transcript }];
  },
  'conversation.item.input_audio_transcription.failed': (state, { item_id: id, error }) => {
    if (state.partial?.item === id) state.partial = null;
    return [{ do: 'warn', message: error.message }];
  },

  'response.created': (state, { response: { id } }) => {
    answer(state, id).turn = state.turn;
    state.turn = null;
  },
  'response.output_item.added': (state, { response_id: id, item }) => {
    if (item.type === 'message') answer(state, id).item = item.id;
  },
  'response.output_item.done': (state, { response_id: id, item }) => {
    const { call, text } = insert(state, item);
    if (item.type === 'message') return [{ do: 'say', who: 'assistant', text }];
    if (item.type !== 'function_call') return undefined;
    answer(state, id).calls.push({ id: item.call_id, output: null });
    return [{ do: 'run', call }];
  },
  'response.output_text.delta': spoken,
  'response.output_audio_transcript.delta': spoken,
  'response.output_audio.delta': (state, { response_id: id, item_id: itemId, delta }) => {
    const item = find(state, itemId);
    if (!item || answer(state, id).hushed) return undefined;
    item.audioMs += duration(delta, rate(state));
    state.pushed += 1;
    state.idle = false;
    return [{ do: 'play', item: itemId, audio: delta }];
  },
  'response.output_audio.done': (_, { item_id: item }) => [{ do: 'finish', item }],
  'vivavoce.response.timings': (state, timings) => {
    const response = answer(state, timings.response_id);
    response.timings = timings;
    return [mark('timings', { response })];
  },
  'response.done': (state, { response: { id, status, status_details: details } }) => {
    const response = answer(state, id);
    response.status = status;
    const failed = status === 'failed' ? [{ do: 'warn', message: details?.error?.message ?? 'The answer failed.' }] : [];
    return [...settle(state, response), ...(state.wanted ? create(state) : []), ...failed];
  },
  error: (_, { error: { code, message: why } }) => (QUIET.has(code) ? [] : [{ do: 'warn', message: why }]),

  // What happens on the page ------------------------------------------------------------------------------------------

  '.report': (state, { heard, idle, pushed }) => {
    state.playing = heard;
    if (pushed === state.pushed) state.idle = idle; // else it has not seen the last piece yet
  },
  '.hushed': (state, { heard }) => {
    state.idle = true;
    return heard.flatMap(({ item: id, ms: played }) => {
      const item = find(state, id);
      if (!item) return [];
      const ms = Math.max(0, Math.min(Math.floor(played), Math.floor(item.audioMs)));
      item.heard = heardLength(item, ms);
      return [send({ type: 'conversation.item.truncate', item_id: id, content_index: 0, audio_end_ms: ms })];
    });
  },
  '.stop': (state) => {
    state.wanted = false;
    return [...interrupt(state), ...(active(state) ? [send({ type: 'response.cancel' })] : [])];
  },
  '.typed': (state, { text }) => {
    const stop = handlers['.stop'](state);
    return [...stop, send({ type: 'conversation.item.create', item: message('user', text) }), ...create(state)];
  },
  '.pressed': (state) => {
    const stop = handlers['.stop'](state);
    state.speaking = true;
    return [...stop, send({ type: 'input_audio_buffer.clear' }), mark('speech')];
  },
  '.released': (state, { enough }) => {
    state.speaking = false;
    if (!enough) return [send({ type: 'input_audio_buffer.clear' }), mark('silence')];
    return [send({ type: 'input_audio_buffer.commit' }), ...create(state), mark('turn')];
  },
  '.returned': (state, { call, output }) => {
    const response = [...state.responses.values()].find(({ calls }) => calls.some(({ id }) => id === call));
    if (!response) return undefined;
    response.calls.find(({ id }) => id === call).output = output;
    const item = { type: 'function_call_output', call_id: call, output };
    return [send({ type: 'conversation.item.create', item }), ...settle(state, response)];
  },
  '.lost': (state) => {
    for (const response of state.responses.values()) {
      if (response.status === 'in_progress') response.status = 'cancelled';
      response.calls = [];
    }
    for (const item of state.items) if (item.status === 'in_progress') item.status = 'incomplete';
    Object.assign(state, { speaking: false, partial: null, wanted: false, turn: null });
    return state.idle ? [] : [{ do: 'hush' }];
  },
};

/** Take one thing that happened; `state` is changed in place, what to do is returned. */
export const step = (state, what) => handlers[what.type]?.(state, what) ?? [];

/** What tells a new session of the conversation so far: events in their order, with the ids that the items have. */
export const recall = (state, most = 60) => {
  const returned = new Set(state.items.flatMap(({ output }) => (output ? [output.id] : [])));
  const told = state.items.flatMap(({ id, type, role, text, heard, call, output }) => {
    if (type === 'function_call' && returned.has(call.id)) {
      return [{ id, type, call_id: call.id, name: call.name, arguments: call.arguments }];
    }
    if (output) return [{ id, type, call_id: output.id, output: output.text }];
    const said = type === 'message' ? text.slice(0, heard ?? text.length) : '';
    return said ? [{ id, ...message(role, said) }] : [];
  });
  const kept = told.slice(-most);
  while (kept[0]?.type === 'function_call_output') kept.shift(); // its call is gone
  return kept.map((item) => ({ type: 'conversation.item.create', item }));
};
