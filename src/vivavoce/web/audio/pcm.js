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

/** @returns {number} milliseconds of sound in a base64 text */
export const duration = (text) => {
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  return ((text.length / 4) * 3 - padding) / 2 / (RATE / 1000);
};

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
