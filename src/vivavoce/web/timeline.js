/** Two waveforms on one time axis, with what happened marked: spans of speech, ends of turns, interruptions. */

const PEAK_S = 0.02;
const SPAN_S = 30;
const BAR = 3; // pixels of a bar and the gap after it
const AXIS = 16; // pixels below the waveforms
const LANES = ['you', 'agent'];

export class Timeline {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.pen = canvas.getContext('2d');
    this.clear();
    this.learnColours();
    new ResizeObserver(() => this.fit()).observe(canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.learnColours());
    canvas.addEventListener('wheel', ({ deltaX, deltaY }) => this.scroll(-(deltaX || deltaY) / 40), { passive: true });
    canvas.addEventListener('keydown', ({ key }) => this.scroll({ ArrowLeft: 5, ArrowRight: -5 }[key] ?? 0));
  }

  clear() {
    this.peaks = { you: new Map(), agent: new Map() };
    this.origin = null;
    this.back = 0; // seconds of the past between the right edge and now
    this.forget();
  }

  /** Forget what was marked. */
  forget() {
    this.spans = []; // {kind, from, to}
    this.marks = []; // {kind, at}
  }

  learnColours() {
    const kinds = [...LANES, 'speech', 'turn', 'ahead', 'interruption', 'overlap', 'line', 'faint', 'text'];
    const probe = document.body.appendChild(document.createElement('i'));
    this.colours = {};
    for (const kind of kinds) {
      probe.style.color = `var(--${kind})`;
      this.colours[kind] = getComputedStyle(probe).color;
    }
    probe.remove();
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
    const place = Math.round(time / PEAK_S);
    this.peaks[lane].set(place, Math.max(peak, this.peaks[lane].get(place) ?? 0));
  }

  begin(kind, from, to = null) {
    this.spans.push({ kind, from, to });
  }

  end(kind, to) {
    const span = this.last(kind);
    if (span) span.to ??= to;
  }

  last(kind) {
    return this.spans.findLast((span) => span.kind === kind);
  }

  mark(kind, at) {
    this.marks.push({ kind, at });
  }

  scroll(by) {
    this.back = Math.max(0, Math.min(this.back + by, this.longest ?? 0));
  }

  /** Draw what is visible at this moment. @param {boolean} isReplay whether there is a future, too */
  draw(now, isReplay = false) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width) return;
    this.longest = Math.max(0, now - (this.origin ?? now) - SPAN_S / 2);
    const right = now - this.back + (isReplay ? SPAN_S / 3 : 0);
    const left = right - SPAN_S;
    const half = (height - AXIS) / 2;
    const view = { left, right, half, width, x: (time) => ((time - left) / SPAN_S) * width };
    this.pen.clearRect(0, 0, width, height);
    this.axis(view, height);
    for (const span of this.spans) this.span(span, view, now);
    LANES.forEach((lane, row) => this.wave(lane, half * (row + 0.5), view));
    for (const { kind, at } of this.marks) this.line(kind, view.x(at), view);
    if (isReplay) this.line('text', view.x(now), view);
    this.canvas.setAttribute('aria-label', this.described());
  }

  axis({ left, right, half, width, x }, height) {
    const { pen } = this;
    pen.fillStyle = this.colours.line;
    pen.fillRect(0, half, width, 1);
    pen.fillRect(0, half * 2, width, 1);
    pen.font = '11px system-ui, sans-serif';
    const origin = this.origin ?? right;
    for (let t = origin + Math.max(0, Math.ceil((left - origin) / 5) * 5); t <= right; t += 5) {
      pen.fillStyle = this.colours.line;
      pen.fillRect(Math.round(x(t)), 0, 1, height);
      pen.fillStyle = this.colours.faint;
      pen.fillText(`${Math.round(t - origin)} s`, x(t) + 4, height - 3);
    }
  }

  /** What is yours fills the upper lane, what was begun ahead the lower one. */
  span({ kind, from, to }, { half, width, x }, now) {
    const [start, end] = [x(from), x(to ?? now)];
    if (end < 0 || start > width) return;
    const top = kind === 'ahead' ? half + 1 : 0;
    const wide = Math.max(2, end - start);
    this.pen.fillStyle = this.colours[kind];
    this.pen.globalAlpha = kind === 'ahead' ? 0.35 : 0.16;
    this.pen.fillRect(start, top, wide, half);
    this.pen.globalAlpha = 1;
    this.pen.fillRect(start, kind === 'ahead' ? top + half - 3 : top, wide, 2);
  }

  wave(lane, middle, { left, right, half, width, x }) {
    const many = Math.max(1, Math.round((BAR * SPAN_S) / width / PEAK_S)); // peaks of one bar
    this.pen.fillStyle = this.colours[lane];
    const peaks = this.peaks[lane];
    for (let place = Math.floor(left / PEAK_S / many) * many; place * PEAK_S <= right; place += many) {
      let most = -1;
      for (let i = place; i < place + many; i += 1) most = Math.max(most, peaks.get(i) ?? -1);
      if (most < 0) continue;
      const tall = Math.max(1, Math.min(1, Math.sqrt(most)) * (half - 10));
      this.pen.fillRect(x(place * PEAK_S), middle - tall / 2, BAR - 1, tall);
    }
  }

  line(kind, at, { half, width }) {
    if (at < 0 || at > width) return;
    this.pen.fillStyle = this.colours[kind];
    this.pen.fillRect(at - 1, 0, kind === 'interruption' ? 2.5 : 1.5, half * (kind === 'turn' ? 1 : 2));
  }

  /** The whole as words, for who cannot see it. */
  described() {
    const count = (kind) => [...this.spans, ...this.marks].filter((each) => each.kind === kind).length;
    return `Waveforms of you and the agent: turns ${count('turn')}, interruptions ${count('interruption')}`;
  }
}
