/** 16-bit PCM, little endian, as the protocol carries it. */

export const RATE = 24000;

const PIECE = 0x8000; // arguments of one call of fromCharCode

/** @param {ArrayBuffer} buffer */
export const toBase64 = (buffer) => {
  const bytes = new Uint8Array(buffer);
  let text = '';
  for (let i = 0; i < bytes.length; i += PIECE) text += String.fromCharCode(...bytes.subarray(i, i + PIECE));
  return btoa(text);
};

/** @returns {ArrayBuffer} */
export const fromBase64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;

/** @returns {number} bytes of sound in a base64 text, or in the `{bytes}` that stands for it in a log */
export const bytesOf = (sound) => {
  if (typeof sound !== 'string') return sound?.bytes ?? 0;
  const padding = sound.endsWith('==') ? 2 : sound.endsWith('=') ? 1 : 0;
  return (sound.length / 4) * 3 - padding;
};

/** @returns {number} milliseconds of that sound */
export const duration = (sound, rate = RATE) => (bytesOf(sound) * 500) / rate;

/** @param {Float32Array} samples @returns {Int16Array} */
export const toInt16 = (samples) => Int16Array.from(samples, (x) => Math.max(-1, Math.min(1, x)) * 0x7fff);

/** @param {Int16Array} samples @returns {Float32Array} */
export const toFloat = (samples) => Float32Array.from(samples, (x) => x / 0x8000);

/** The loudest sample. */
export const peak = (samples) => {
  let most = 0;
  for (const sample of samples) most = Math.max(most, Math.abs(sample));
  return most;
};
