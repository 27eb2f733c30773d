/** Two waveforms on one time axis, with what happened marked: spans of speech, ends of turns, interruptions. */

const STEP_S = 0.02; // one peak of a waveform
const SPAN_S = 30;
const LANES = ['you', 'agent'];

export class Timeline {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.pen = canvas.getContext('2d');
    this.clear();
    new ResizeObserver(() => this.fit()).observe(canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.learnColours());
    this.learnColours();
  }

  clear() {
    this.peaks = { you: new Map(), agent: new Map() };
    this.spans = []; // {kind, from, to}
    this.marks = []; // {kind, at}
    this.origin = null;
    this.offset = 0; // seconds before now at the right edge
  }

  learnColours() {
    const style = getComputedStyle(document.documentElement);
    this.colour = (name) => style.getPropertyValue(`--${name}`).trim();
  }

  fit() {
    const { clientWidth, clientHeight } = this.canvas;
    const ratio = devicePixelRatio || 1;
    this.canvas.width = clientWidth * ratio;
    this.canvas.height = clientHeight * ratio;
    this.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  /** Note how loud a lane was at a moment, 0 to 1. */
  add(lane, time, peak) {
    this.origin ??= time;
    const place = Math.round(time / STEP_S);
    this.peaks[lane].set(place, Math.max(peak, this.peaks[lane].get(place) ?? 0));
  }

  begin(kind, from) {
    this.spans.push({ kind, from, to: null });
  }

  end(kind, to) {
    const open = this.spans.findLast((span) => span.kind === kind && span.to === null);
    if (open) open.to = to;
  }

  mark(kind, at) {
    this.marks.push({ kind, at });
  }

  /** Move through the past: by seconds, or to now with 0. */
  scroll(by) {
    this.offset = by === 0 ? 0 : Math.max(0, this.offset + by);
  }

  /** Draw what is visible at this moment. @param {number} now @param {boolean} cursor whether to draw one at `now` */
  draw(now, cursor = false) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    const right = now - this.offset + (cursor ? SPAN_S / 4 : 0);
    const left = right - SPAN_S;
    const x = (time) => ((time - left) / SPAN_S) * width;
    this.pen.clearRect(0, 0, width, height);
    this.axis(left, right, x, height);
    for (const { kind, from, to } of this.spans) this.span(kind, x(from), x(to ?? now), height);
    LANES.forEach((lane, row) => this.wave(lane, left, right, x, row, height));
    for (const { kind, at } of this.marks) if (at >= left && at <= right) this.line(kind, x(at), height);
    if (cursor) this.line('cursor', x(now), height);
  }

  axis(left, right, x, height) {
    this.pen.fillStyle = this.colour('faint');
    this.pen.font = '11px system-ui';
    for (let t = Math.ceil(left / 5) * 5; t <= right; t += 5) {
      if (this.origin === null || t < this.origin) continue;
      this.pen.fillRect(x(t), 0, 1, height);
      this.pen.fillText(`${Math.round(t - this.origin)} s`, x(t) + 3, height - 3);
    }
  }

  span(kind, from, to, height) {
    if (to < 0) return;
    this.pen.globalAlpha = 0.22;
    this.pen.fillStyle = this.colour(kind);
    const half = (height - 14) / 2;
    this.pen.fillRect(from, 0, Math.max(1, to - from), half);
    this.pen.globalAlpha = 1;
  }

  wave(lane, left, right, x, row, height) {
    const half = (height - 14) / 2;
    const middle = half * (row + 0.5);
    const bar = Math.max(1, x(left + STEP_S) - x(left) - 0.5);
    this.pen.fillStyle = this.colour(lane);
    for (let place = Math.floor(left / STEP_S); place <= right / STEP_S; place += 1) {
      const peak = this.peaks[lane].get(place);
      if (peak === undefined) continue;
      const tall = Math.max(1, Math.sqrt(peak) * (half - 4));
      this.pen.fillRect(x(place * STEP_S), middle - tall / 2, bar, tall);
    }
  }

  line(kind, at, height) {
    this.pen.strokeStyle = this.colour(kind);
    this.pen.setLineDash(kind === 'ahead' ? [3, 3] : []);
    this.pen.lineWidth = kind === 'interruption' ? 2 : 1;
    this.pen.beginPath();
    this.pen.moveTo(at, 0);
    this.pen.lineTo(at, height - 14);
    this.pen.stroke();
    this.pen.setLineDash([]);
  }

  /** The whole as words, for those who cannot see it. */
  describe() {
    const count = (kind) => [...this.spans, ...this.marks].filter((each) => each.kind === kind).length;
    return `Waveforms of you and the agent; ${count('speech')} turns, ${count('interruption')} interruptions.`;
  }
}
