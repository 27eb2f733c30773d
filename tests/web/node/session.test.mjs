import assert from 'node:assert/strict';
import test from 'node:test';
import { toBase64 } from '../../../src/vivavoce/web/audio/pcm.js';
import { heardLength, initial, mood, recall, step } from '../../../src/vivavoce/web/session.js';

const SECOND = toBase64(new ArrayBuffer(48000));
const assistant = (id) => ({ id, type: 'message', role: 'assistant', status: 'in_progress', content: [] });

/** A session to which things happen. */
const session = (...events) => {
  const state = initial();
  const happen = (...more) => more.flatMap((event) => step(state, event));
  return { state, happen, told: happen(...events) };
};

const answering = [
  { type: 'response.created', response: { id: 'r' } },
  { type: 'response.output_item.added', response_id: 'r', item: assistant('a') },
  { type: 'conversation.item.added', item: assistant('a'), previous_item_id: null },
  { type: 'response.output_audio_transcript.delta', response_id: 'r', item_id: 'a', delta: 'One two three four. ' },
  { type: 'response.output_audio.delta', response_id: 'r', item_id: 'a', delta: SECOND },
  { type: 'response.output_audio_transcript.delta', response_id: 'r', item_id: 'a', delta: 'Five six seven eight.' },
  { type: 'response.output_audio.delta', response_id: 'r', item_id: 'a', delta: SECOND },
];
const ended = (status = 'completed') => ({ type: 'response.done', response: { id: 'r', status } });
const heard = (ms) => ({ type: '.report', heard: { item: 'a', ms }, idle: false, pushed: 2 });
const speech = { type: 'input_audio_buffer.speech_started', item_id: 'u', audio_start_ms: 100 };
const does = (effects) => effects.filter((effect) => effect.do !== 'mark').map((effect) => effect.event?.type ?? effect.do);

test('an answer is played, and the mood follows', () => {
  const { state, happen, told } = session(...answering);
  assert.deepEqual(does(told), ['play', 'play']);
  assert.equal(mood(state), 'speaking');
  happen(ended(), { type: '.report', heard: { item: 'a', ms: 2000 }, idle: true, pushed: 2 });
  assert.equal(mood(state), 'listening');
  happen(speech);
  assert.equal(mood(state), 'hearing you');
});

test('a report that has not seen the last piece does not end the answer', () => {
  const { state, happen } = session(...answering);
  happen({ type: '.report', heard: null, idle: true, pushed: 1 });
  assert.equal(mood(state), 'speaking');
});

test('speech hushes the answer; what was heard is told, and late sound is dropped', () => {
  const { state, happen } = session(...answering, heard(1400));
  assert.deepEqual(does(happen(speech)), ['hush']);
  const [{ event }] = happen({ type: '.hushed', heard: [{ item: 'a', ms: 1450.7 }] });
  assert.deepEqual(event, { type: 'conversation.item.truncate', item_id: 'a', content_index: 0, audio_end_ms: 1450 });
  const { text, heard: cut } = state.items[0];
  assert.equal(text.slice(0, cut), 'One two three four. Five six');
  assert.deepEqual(does(happen(answering[4])), []);
});

test('the rest of an answer that has ended is hushed, too', () => {
  const { happen } = session(...answering, ended(), heard(500));
  assert.deepEqual(does(happen(speech)), ['hush']);
});

test('speech interrupts nothing where the session says so', () => {
  const settings = { audio: { input: { turn_detection: { interrupt_response: false } } } };
  const { happen } = session({ type: 'session.created', session: settings }, ...answering, heard(500));
  assert.deepEqual(does(happen(speech)), []);
});

test('speech that may be meant for somebody else only pauses', () => {
  const { state, happen } = session(...answering, heard(500));
  assert.deepEqual(does(happen({ type: 'vivavoce.input_audio_buffer.overlap_started', item_id: 'o', audio_start_ms: 1 })), ['pause']);
  assert.deepEqual(does(happen({ type: 'vivavoce.input_audio_buffer.overlap_ended', item_id: 'o' })), ['resume']);
  assert.equal(mood(state), 'speaking');
});

test('words are heard in whole, as far as their sound was', () => {
  const item = { text: 'Well then, goodbye.', marks: [{ ms: 0, length: 0 }, { ms: 1000, length: 11 }], audioMs: 2000 };
  assert.equal(heardLength(item, 0), 0);
  assert.equal(item.text.slice(0, heardLength(item, 600)), 'Well');
  assert.equal(item.text.slice(0, heardLength(item, 1000)), 'Well then, ');
  assert.equal(heardLength(item, 2000), item.text.length);
});

test('what is typed ends the answer and asks for another once it has ended', () => {
  const { happen } = session(...answering, heard(300));
  assert.deepEqual(does(happen({ type: '.typed', text: 'Hi' })), ['hush', 'response.cancel', 'conversation.item.create']);
  assert.deepEqual(does(happen(ended('cancelled'))), ['response.create']);
});

const called = (call) => ({
  type: 'response.output_item.done',
  response_id: 'r',
  item: { id: `i${call}`, type: 'function_call', call_id: call, name: 'f', arguments: '{}', status: 'completed' },
});

test('an answer that called goes on once all calls have returned', () => {
  const { happen, told } = session(answering[0], called('c1'), called('c2'), ended());
  assert.deepEqual(does(told), ['run', 'run']);
  assert.deepEqual(does(happen({ type: '.returned', call: 'c1', output: '1' })), ['conversation.item.create']);
  assert.deepEqual(does(happen({ type: '.returned', call: 'c2', output: '2' })), ['conversation.item.create', 'response.create']);
});

test('calls of an answer that was interrupted return without asking for another', () => {
  const { happen } = session(answering[0], called('c1'), ended('cancelled'));
  assert.deepEqual(does(happen({ type: '.returned', call: 'c1', output: '1' })), ['conversation.item.create']);
});

test('a turn ended by hand is committed, or dropped where it is too short', () => {
  const { state, happen } = session();
  assert.deepEqual(does(happen({ type: '.pressed' })), ['input_audio_buffer.clear']);
  assert.equal(mood(state), 'hearing you');
  assert.deepEqual(does(happen({ type: '.released', enough: true })), ['input_audio_buffer.commit', 'response.create']);
  assert.deepEqual(does(happen({ type: '.released', enough: false })), ['input_audio_buffer.clear']);
});

test('a new session is told what was said, and of what was interrupted the part that was heard', () => {
  const { state, happen } = session(...answering, heard(1000), speech, { type: '.hushed', heard: [{ item: 'a', ms: 1000 }] });
  happen({ type: 'conversation.item.added', item: { id: 'u', type: 'message', role: 'user', content: [{ type: 'input_audio', transcript: null }] }, previous_item_id: 'a' });
  happen({ type: 'conversation.item.input_audio_transcription.completed', item_id: 'u', transcript: 'Stop.' });
  happen(called('lost'), { type: '.lost' });
  const items = recall(state).map(({ item }) => item);
  assert.deepEqual(items.map(({ id }) => id), ['a', 'u']);
  assert.equal(items[0].content[0].text, 'One two three four. ');
  assert.equal(items[1].content[0].text, 'Stop.');
  const count = state.items.length;
  happen(...items.map((item) => ({ type: 'conversation.item.added', item, previous_item_id: null })));
  assert.equal(state.items.length, count, 'the same items come back under the same ids');
});

test('an item stands after the one that it names', () => {
  const user = (id) => ({ id, type: 'message', role: 'user', content: [{ type: 'input_text', text: id }] });
  const { state } = session(
    { type: 'conversation.item.added', item: user('1'), previous_item_id: null },
    { type: 'conversation.item.added', item: user('3'), previous_item_id: '1' },
    { type: 'conversation.item.added', item: user('2'), previous_item_id: '1' },
    { type: 'conversation.item.added', item: user('0'), previous_item_id: 'root' },
  );
  assert.deepEqual(state.items.map(({ id }) => id), ['0', '1', '2', '3']);
});

test('sources come with the answer', () => {
  const annotations = [{ type: 'url_citation', title: 'Lines', url: 'https://metro.example/' }];
  const item = { ...assistant('a'), status: 'completed', content: [{ type: 'output_audio', transcript: 'Red.', annotations }] };
  const { state } = session(...answering, { type: 'response.output_item.done', response_id: 'r', item });
  assert.deepEqual(state.items[0].sources, [{ title: 'Lines', url: 'https://metro.example/', quote: undefined }]);
});

test('what nobody knows changes nothing', () => {
  const { state, told } = session({ type: 'something.new' }, { type: 'response.output_audio.delta', response_id: 'x', item_id: 'x', delta: SECOND });
  assert.deepEqual(told, []);
  assert.equal(mood(state), 'listening');
});
