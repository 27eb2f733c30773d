import assert from 'node:assert/strict';
import test from 'node:test';
import { Resampler } from '../../../src/vivavoce/web/audio/resample.js';
import { duration, fromBase64, toBase64, toFloat, toInt16 } from '../../../src/vivavoce/web/audio/pcm.js';

const tone = (hz, rate, seconds) => Float32Array.from({ length: rate * seconds }, (_, i) => Math.sin((2 * Math.PI * hz * i) / rate) * 0.5);

const feed = (resampler, sound, size) => {
  const out = [];
  for (let i = 0; i < sound.length; i += size) out.push(...resampler.feed(sound.slice(i, i + size)));
  return Float32Array.from(out);
};

const rms = (sound) => Math.sqrt(sound.reduce((sum, x) => sum + x * x, 0) / sound.length);

for (const [from, to] of [[48000, 24000], [44100, 24000], [16000, 24000], [24000, 48000], [24000, 44100]]) {
  test(`a tone of 440 Hz passes from ${from} to ${to} Hz`, () => {
    const out = feed(new Resampler(from, to), tone(440, from, 1), 128);
    const wanted = tone(440, to, 1);
    assert.ok(Math.abs(out.length - to) < 100);
    const [skip, error] = [200, out.map((x, i) => x - wanted[i])];
    assert.ok(rms(error.slice(skip, -skip)) / rms(wanted) < 0.005, `${rms(error.slice(skip, -skip))}`);
  });

  test(`pieces make no difference from ${from} to ${to} Hz`, () => {
    const sound = tone(1234, from, 0.2);
    const whole = new Resampler(from, to).feed(sound);
    const pieces = feed(new Resampler(from, to), sound, 97);
    const most = Math.max(...pieces.map((x, i) => Math.abs(x - whole[i])));
    assert.ok(Math.abs(pieces.length - whole.length) <= 1);
    assert.ok(most < 1e-5);
  });
}

test('what the lower rate cannot carry is left out', () => {
  const out = feed(new Resampler(48000, 24000), tone(15000, 48000, 0.5), 128);
  assert.ok(rms(out.slice(100, -100)) < 0.001);
});

test('PCM survives base64', () => {
  const sound = Float32Array.of(0, 0.5, -0.5, 1, -1, 2);
  const text = toBase64(toInt16(sound).buffer);
  const back = toFloat(new Int16Array(fromBase64(text)));
  assert.ok(back.every((x, i) => Math.abs(x - Math.max(-1, Math.min(1, sound[i]))) < 1e-3));
  assert.equal(duration(text), 6 / 24);
  assert.equal(duration({ bytes: 4800 }), 100);
});
