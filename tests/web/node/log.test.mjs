import assert from 'node:assert/strict';
import test from 'node:test';

globalThis.document = { createElement: () => ({ append: () => {} }) };
const { Log, soundless } = await import('../../../src/vivavoce/web/log.js');
const { read } = await import('../../../src/vivavoce/web/replay.js');

const list = () => ({ children: [], append: () => {}, replaceChildren: () => {}, scrollTop: 0, clientHeight: 0, scrollHeight: 0 });

test('sound is counted, not kept', () => {
  assert.deepEqual(soundless({ type: 'input_audio_buffer.append', audio: 'AAAA' }).audio, { bytes: 3 });
  assert.deepEqual(soundless({ type: 'response.output_audio.delta', delta: 'AAA=' }).delta, { bytes: 2 });
  assert.deepEqual(soundless({ type: 'response.output_text.delta', delta: 'AAAA' }).delta, 'AAAA');
});

test('what is exported is read again', () => {
  const log = new Log(list(), {});
  log.add('out', { type: 'response.create' }, 0.5);
  log.add('in', { type: 'response.created', response: { id: 'r' } }, 0.75);
  const { head, lines, damaged } = read(log.text());
  assert.equal(head.log, 1);
  assert.deepEqual(lines.map(({ t, way, event }) => [t, way, event.type]), [[0.5, 'out', 'response.create'], [0.75, 'in', 'response.created']]);
  assert.equal(damaged, 0);
});

test('a damaged log is read as far as it goes', () => {
  const { lines, damaged } = read('{"log": 1}\n{"t": 1, "in": {"type": "error"}}\n{"t": 2, "in\n');
  assert.deepEqual([lines.length, damaged], [1, 1]);
  assert.throws(() => read('{"a": 1}\n'), /session\.jsonl/);
});

test('only what fits is listed, all is exported', () => {
  const log = new Log(list(), {});
  log.look({ filter: 'created' });
  log.add('out', { type: 'response.create' });
  log.add('in', { type: 'response.created' });
  log.add('in', { type: 'response.output_audio.delta', delta: 'AAAA' });
  assert.deepEqual(log.fresh.map(({ event }) => event.type), ['response.created']);
  assert.equal(log.text().split('\n').filter(Boolean).length, 5);
});
