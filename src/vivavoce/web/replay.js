/** A recorded session on the same page: its log, and its sound where there is one. */

import { bytesOf } from './audio/pcm.js';

const PEAK_S = 0.02;
const COARSE = 8000; // Hz, enough to draw

/** Read a log. @returns {{head: object, lines: {t, at, way, event}[], damaged: number}} */
export const read = (text) => {
  const [first, ...rest] = text.split('\n').filter(Boolean);
  const head = parse(first);
  if (!head?.log) throw new Error('This is no session log: open the session.jsonl of a recording.');
  const lines = [];
  let damaged = 0;
  for (const each of rest) {
    const line = parse(each);
    const event = line?.in ?? line?.out;
    if (event?.type) lines.push({ t: line.t, at: line.at, way: line.in ? 'in' : 'out', event });
    else if (!line || !('end' in line)) damaged += 1;
  }
  return { head, lines, damaged };
};

const parse = (line) => {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
};

export class Replay {
  /**
   * @param {Scene} scene @param {Log} log
   * @param {{head, lines}} recording
   */
  constructor(scene, log, { head, lines }) {
    Object.assign(this, { scene, log, lines });
    this.began = null; // when it was started, or null while it stands
    this.position = 0;
    this.pace = 1;
    this.sound = null;
    this.length = lines.at(-1)?.t ?? 0;
    log.head = head;
    this.rewind();
  }

  /** Take the sound: left the person, right the agent. @param {Blob} file */
  async hear(file) {
    this.sound = new Audio(URL.createObjectURL(file));
    const context = new OfflineAudioContext(2, 1, COARSE);
    const sound = await context.decodeAudioData(await file.arrayBuffer());
    const { timeline } = this.scene;
    timeline.clear();
    ['you', 'agent'].forEach((lane, channel) => {
      if (channel >= sound.numberOfChannels) return;
      const samples = sound.getChannelData(channel);
      const step = COARSE * PEAK_S;
      for (let i = 0; i < samples.length; i += step) timeline.add(lane, i / COARSE, peak(samples, i, i + step));
    });
    this.length = Math.max(sound.duration, this.when(this.lines.at(-1) ?? { t: 0 }));
    this.rewind();
  }

  get now() {
    if (this.began === null) return this.position;
    if (this.sound && !this.sound.ended) return this.sound.currentTime;
    return Math.min(this.length, this.position + ((performance.now() - this.began) / 1000) * this.pace);
  }

  get plays() {
    return this.began !== null;
  }

  /** When a line was, on the axis: that of the sound where there is one. */
  when({ t, at }) {
    return this.sound ? at ?? 0 : t;
  }

  async play() {
    if (this.now >= this.length) this.seek(0);
    this.began = performance.now();
    if (!this.sound || this.position >= this.sound.duration) return;
    this.sound.currentTime = this.position;
    this.sound.playbackRate = this.pace;
    await this.sound.play();
  }

  pause() {
    this.position = this.now;
    this.began = null;
    this.sound?.pause();
  }

  seek(position) {
    const plays = this.plays;
    if (plays) this.pause();
    if (position < this.position) this.rewind();
    this.position = position;
    this.follow();
    if (plays) this.play();
  }

  setPace(pace) {
    const plays = this.plays;
    if (plays) this.pause();
    this.pace = pace;
    if (plays) this.play();
  }

  rewind() {
    this.scene.clear();
    this.log.clear();
    this.next = 0;
  }

  /** Show what has happened by now; pauses at the end. */
  follow() {
    const { now } = this;
    for (; this.next < this.lines.length && this.when(this.lines[this.next]) <= now; this.next += 1) {
      this.show(this.lines[this.next]);
    }
    if (this.plays && now >= this.length) this.pause();
  }

  show(line) {
    const { way, event } = line;
    const time = this.when(line);
    const { state } = this.scene;
    const isWire = /^[a-z]/.test(event.type);
    if (isWire) this.log.add(way, event, line.t);
    if (event.type === 'input_audio_buffer.append') {
      const rate = state.settings?.audio?.input?.format?.rate ?? 24000;
      const ms = (bytesOf(event.audio) * 500) / rate;
      this.scene.sent(time - ms / 1000, ms);
    } else if (event.type === 'Played') {
      const heard = { item: event.item_id, ms: event.ms };
      this.scene.take({ type: '.report', heard, idle: Boolean(event.all_played), pushed: state.pushed }, time);
    } else if (isWire && way === 'in') this.scene.take(event, time);
  }

  close() {
    this.pause();
    if (this.sound) URL.revokeObjectURL(this.sound.src);
  }
}

const peak = (samples, from, to) => {
  let most = 0;
  for (let i = from; i < Math.min(to, samples.length); i += 1) most = Math.max(most, Math.abs(samples[i]));
  return most;
};
