import assert from 'node:assert/strict';
import test from 'node:test';
import { Queue } from '../../../src/vivavoce/web/audio/queue.js';

const RATE = 48000;
const BLOCK = 128;
const tone = (samples, from = 0) => Float32Array.from({ length: samples }, (_, i) => Math.sin((2 * Math.PI * 220 * (i + from)) / RATE) * 0.8);

const pull = (queue, samples) => {
  const out = new Float32Array(samples);
  for (let i = 0; i < samples; i += BLOCK) {
    const block = new Float32Array(BLOCK);
    queue.pull(block);
    out.set(block.subarray(0, Math.min(BLOCK, samples - i)), i);
  }
  return out;
};

/** The largest step between two samples; a 220 Hz tone at 0.8 never steps further than 0.024. */
const steepest = (sound) => sound.reduce((most, x, i) => Math.max(most, i ? Math.abs(x - sound[i - 1]) : 0), 0);

test('pieces of an item are heard without a gap and without a change', () => {
  const queue = new Queue(RATE);
  for (let i = 0; i < 10; i += 1) queue.push('a', tone(4800, i * 4800));
  queue.finish('a');
  const out = pull(queue, 48000);
  const fade = 0.005 * RATE;
  assert.deepEqual(out.slice(fade), tone(48000).slice(fade));
  assert.ok(steepest(out) < 0.03);
  assert.equal(queue.underruns, 0);
});

test('an item begins once 40 ms are there, or all of it', () => {
  const queue = new Queue(RATE);
  queue.push('a', tone(1000));
  assert.ok(pull(queue, BLOCK).every((x) => x === 0));
  assert.equal(queue.heard, null);
  queue.finish('a');
  pull(queue, BLOCK);
  assert.equal(queue.heard.item, 'a');
});

test('hush silences at once without a click and tells what was heard of each item', () => {
  const queue = new Queue(RATE);
  queue.push('a', tone(48000));
  queue.push('b', tone(48000));
  const before = pull(queue, 24064);
  const heard = queue.hush();
  const after = pull(queue, 4800);
  assert.deepEqual(heard, [{ item: 'a', ms: (24064 * 1000) / RATE }, { item: 'b', ms: 0 }]);
  assert.ok(steepest(Float32Array.from([...before, ...after])) < 0.06);
  assert.ok(after.slice(960).every((x) => Math.abs(x) < 1e-3), 'silent 20 ms later');
  assert.ok(queue.idle);
});

test('a pause keeps what is left, and going on makes no click', () => {
  const queue = new Queue(RATE);
  queue.push('a', tone(48000));
  const parts = [pull(queue, 12032)];
  queue.paused = true;
  parts.push(pull(queue, 9600));
  assert.deepEqual(queue.heard, { item: 'a', ms: (12032 * 1000) / RATE });
  queue.paused = false;
  parts.push(pull(queue, 9600));
  assert.ok(steepest(Float32Array.from(parts.flatMap((part) => [...part]))) < 0.06);
});

test('a late piece makes a gap without a click, and the next waits for more', () => {
  const queue = new Queue(RATE);
  queue.push('a', tone(4800));
  const parts = [pull(queue, 9600)];
  assert.equal(queue.underruns, 1);
  queue.push('a', tone(2400, 4800)); // 50 ms: enough at first, not after a gap
  assert.ok(pull(queue, BLOCK).every((x) => Math.abs(x) < 1e-3));
  queue.push('a', tone(2400, 7200));
  parts.push(pull(queue, 37 * BLOCK));
  assert.ok(parts[1].some((x) => Math.abs(x) > 0.5));
  assert.ok(steepest(Float32Array.from(parts.flatMap((part) => [...part]))) < 0.06);
  assert.equal(queue.underruns, 1);
});

test('what ends is idle and is what was heard last', () => {
  const queue = new Queue(RATE);
  queue.push('a', tone(4800));
  queue.finish('a');
  pull(queue, 9600);
  assert.ok(queue.idle);
  assert.deepEqual(queue.heard, { item: 'a', ms: 100 });
  assert.deepEqual(queue.hush(), []);
});
