/** The page put together: what a person does, what the server tells, and what is seen of both. */

import { $, clock, make, show } from './dom.js';
import { Latency } from './latency.js';
import { Link, ephemeralKey } from './link.js';
import { Log } from './log.js';
import { Scene } from './scene.js';
import { mood, recall } from './session.js';
import { OWN, Settings } from './settings.js';
import { Sound } from './sound.js';
import { Timeline } from './timeline.js';
import { Transcript } from './transcript.js';

const FRAME_MS = 20;
const DRAW_MS = 40;
const MOST_WAITING = 1e6; // bytes that the network may owe; sound beyond that is dropped
const SLOW_MS = 300; // a microphone that takes longer waits for permission
const LEAST_MS = 150; // of a turn that is ended by hand
const REFUSED = {
  NotAllowedError: 'The microphone was refused. Allow it beside the address of this page and start again, or type.',
  NotFoundError: 'No microphone was found. Plug one in and start again, or type.',
  NotReadableError: 'Another program keeps the microphone. Close it and start again, or type.',
};

const timeline = new Timeline($('timeline'));
const log = new Log($('log'), $('count'));
const scene = new Scene({ timeline, latency: new Latency($('latency'), $('stages')) });
const settings = new Settings(update);
const transcript = new Transcript($('transcript'), (call, output) => happened({ type: '.returned', call, output }));
const sound = new Sound({ frame, report, hushed: (heard) => happened({ type: '.hushed', heard }), gone: unplugged });
const link = new Link({ event: told, sent: (event) => log.add('out', event), lost, ended }, () => withKey(ephemeralKey));

let replay = null;
let on = false; // whether a session is wanted
let live = false; // whether there is one
let heldMs = null; // how long push-to-talk has been held
let apiKey = sessionStorage.getItem('vivavoce.key') ?? '';
let files = null;
const asked = new Set(); // events that another server may well refuse

// The session ------------------------------------------------------------------------------------------------------

function happened(what, time = sound.now) {
  for (const effect of scene.take(what, time)) perform(effect);
}

const effects = {
  send: ({ event }) => link.send(event),
  play: ({ item, audio }) => sound.play(item, audio),
  warn: ({ message }) => tell(message),
  say: ({ who, text }) => $('said').replaceChildren(make('p', {}, `${who === 'user' ? 'You' : 'Agent'}: ${text}`)),
  run: ({ call }) => {
    const own = OWN[call.name];
    if (own) happened({ type: '.returned', call: call.id, output: ran(own, call) });
    else transcript.await(call.id);
  },
};

const perform = (effect) => (effects[effect.do] ? effects[effect.do](effect) : sound.tell(effect.do, effect.item));

const ran = ({ run }, call) => {
  try {
    return String(run(JSON.parse(call.arguments || '{}')));
  } catch (wrong) {
    return `It failed: ${wrong.message}`;
  }
};

function told(event) {
  log.add('in', event);
  if (event.type === 'error' && asked.delete(event.error?.event_id)) return;
  happened(event);
  if (event.type === 'session.created') begin(event.session);
  if (event.type === 'session.updated') show($('applied'), 'in effect');
}

function begin(session) {
  settings.offer(session);
  scene.begin();
  live = true;
  configure(session);
  recall(scene.state).forEach((event) => link.send(event));
  if ($('banner').className) tell('');
  render();
}

function update() {
  render();
  if (live) configure(scene.state.settings);
}

/** Ask for the settings; for our own extensions apart, as another server refuses them. */
function configure(now) {
  const extensions = { type: 'realtime', vivavoce: settings.extensions() };
  asked.add(link.send({ type: 'session.update', session: extensions })?.event_id);
  link.send({ type: 'session.update', session: settings.session(now) });
}

function lost(seconds) {
  live = false;
  happened({ type: '.lost' });
  tell(`The connection is lost; next try in ${Math.max(1, Math.round(seconds))} s. What was said is kept.`, 'quiet');
}

function ended(wrong) {
  end();
  tell(wrong.message);
}

async function withKey(use) {
  for (;;) {
    try {
      return await use(apiKey);
    } catch (wrong) {
      if (wrong.status !== 401) throw wrong;
      apiKey = await askKey(wrong.message);
    }
  }
}

const askKey = (why) =>
  new Promise((resolve, reject) => {
    const dialog = $('key-dialog');
    show($('key-why'), why);
    dialog.onclose = () => {
      const { value } = $('key');
      if (!dialog.returnValue) return reject(Object.assign(new Error('Without a key this server cannot be used.'), { status: 403 }));
      if ($('keep').checked) sessionStorage.setItem('vivavoce.key', value);
      resolve(value);
    };
    dialog.returnValue = '';
    dialog.showModal();
  });

// The microphone ---------------------------------------------------------------------------------------------------

async function start() {
  leave();
  on = true;
  if (!scene.state.items.length) timeline.clear();
  render();
  await listen();
  if (on && !link.wanted) link.open(settings.model);
}

/** Open the microphone, or say why there is none: one can still type and hear. */
async function listen() {
  const asking = setTimeout(tell, SLOW_MS, 'Your browser asks whether this page may use the microphone: allow it there.', 'quiet');
  try {
    await sound.open({ input: $('input').value, output: $('output').value });
    tell('');
    await listDevices();
  } catch (wrong) {
    tell(REFUSED[wrong.name] ?? `The microphone cannot be used: ${wrong.message}`);
  } finally {
    clearTimeout(asking);
  }
  render();
}

function end() {
  on = live = false;
  link.close();
  happened({ type: '.lost' });
  sound.close();
  render();
}

function unplugged() {
  tell('The microphone is gone; the usual one is used.', 'quiet');
  $('input').value = '';
  listen();
}

function frame({ audio, time, level }) {
  timeline.add('you', time, level);
  $('level').style.transform = `scaleX(${Math.min(1, Math.sqrt(level))})`;
  if (!live || link.waiting > MOST_WAITING) return;
  if (settings.byHand && heldMs === null) return;
  if (heldMs !== null) heldMs += FRAME_MS;
  scene.sent(time, FRAME_MS);
  link.send({ type: 'input_audio_buffer.append', audio });
}

function report({ time, level, ...rest }) {
  if (replay) return;
  if (on) timeline.add('agent', time, level);
  happened({ type: '.report', ...rest }, time);
}

async function listDevices() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  for (const [id, kind] of Object.entries({ input: 'audioinput', output: 'audiooutput' })) {
    const found = devices.filter((device) => device.kind === kind && device.deviceId !== 'default' && device.label);
    const { value } = $(id);
    $(id).replaceChildren(
      make('option', { value: '' }, 'the usual one'),
      ...found.map(({ deviceId, label }) => make('option', { value: deviceId }, label)),
    );
    $(id).value = found.some(({ deviceId }) => deviceId === value) ? value : '';
  }
}

function press() {
  if (heldMs !== null || !live || !settings.byHand) return;
  heldMs = 0;
  happened({ type: '.pressed' });
  render();
}

function release() {
  if (heldMs === null) return;
  const enough = heldMs >= LEAST_MS;
  heldMs = null;
  happened({ type: '.released', enough });
  render();
}

function mute() {
  sound.muted = !sound.muted;
  render();
}

const stop = () => happened({ type: '.stop' });

// What is seen -----------------------------------------------------------------------------------------------------

function tell(message, kind = '') {
  show($('banner'), message);
  $('banner').className = kind;
  $('banner').hidden = !message;
}

/** Show what does not change by itself. */
function render() {
  show($('start'), on ? 'End' : 'Start');
  $('start').classList.toggle('ends', on);
  for (const id of ['mute', 'stop']) $(id).hidden = !on;
  $('talk').hidden = !on || !settings.byHand;
  $('talk').classList.toggle('held', heldMs !== null);
  $('mute').setAttribute('aria-pressed', sound.muted);
  show($('mute'), sound.muted ? 'Muted' : 'Mute');
  $('dock').hidden = Boolean(replay);
  $('player').hidden = !replay;
}

const word = () => {
  if (replay) return `replay, ${mood(scene.state)}`;
  if (!on) return 'not connected';
  return live ? mood(scene.state) : 'connecting';
};

let drawn = 0;

function draw(at) {
  requestAnimationFrame(draw);
  if (at - drawn < DRAW_MS) return;
  drawn = at;
  replay?.follow();
  const { state } = scene;
  show($('state'), word());
  document.body.dataset.state = live || replay ? mood(state).split(' ')[0] : 'off';
  $('stop').disabled = state.idle && mood(state) !== 'thinking';
  $('welcome').hidden = on || Boolean(replay) || state.items.length > 0;
  transcript.render(state);
  log.draw();
  timeline.draw(replay ? replay.now : sound.now, Boolean(replay));
  if (replay) {
    show($('clock'), `${clock(replay.now)} / ${clock(replay.length)}`);
    $('seek').value = replay.now;
    show($('play'), replay.plays ? 'Pause' : 'Play');
  }
}

// A recording ------------------------------------------------------------------------------------------------------

async function open(chosen) {
  const [written, heard] = ['.jsonl', '.wav'].map((end) => chosen.find(({ name }) => name.endsWith(end)));
  try {
    if (!written && !(heard && replay)) throw new Error('Choose the session.jsonl of a recording, and its conversation.wav for the sound.');
    if (written) {
      const { Replay, read } = await import('./replay.js');
      if (on) end();
      leave();
      const recording = read(await written.text());
      timeline.clear();
      replay = new Replay(scene, log, recording);
      tell(recording.damaged ? `${recording.damaged} lines of the log cannot be read and are left out.` : '');
    }
    if (heard) await replay.hear(heard);
    $('seek').max = replay.length;
  } catch (wrong) {
    tell(wrong.message);
  }
  render();
}

function leave() {
  if (!replay) return;
  replay.close();
  replay = null;
  scene.clear();
  timeline.clear();
  log.clear();
  log.head = {};
  render();
}

const playOrPause = () => (replay.plays ? replay.pause() : replay.play());

// What a person does -----------------------------------------------------------------------------------------------

const click = (id, does) => $(id).addEventListener('click', does);
const change = (id, does) => $(id).addEventListener('change', ({ target }) => does(target));

click('start', () => (on ? end() : start()));
click('mute', mute);
click('stop', stop);
click('open-recording', () => $('recording').click());
click('play', playOrPause);
click('leave', leave);
click('export', () => log.export());
click('hold', ({ target }) => {
  log.pause(!log.paused);
  target.setAttribute('aria-pressed', log.paused);
});
click('no-key', () => $('key-dialog').close());
change('loud', ({ checked }) => log.look({ loud: checked }));
change('input', () => on && listen());
change('output', ({ value }) => sound.speakTo(value).catch(({ message }) => tell(message)));
change('pace', ({ value }) => replay.setPace(Number(value)));
change('recording', async (target) => {
  await open([...target.files]);
  target.value = '';
});
$('filter').addEventListener('input', ({ target }) => log.look({ filter: target.value }));
$('seek').addEventListener('input', ({ target }) => replay.seek(Number(target.value)));
$('talk').addEventListener('pointerdown', press);
for (const type of ['pointerup', 'pointercancel', 'blur']) addEventListener(type, release);
$('dock').addEventListener('submit', async (event) => {
  event.preventDefault();
  const text = $('text').value.trim();
  if (!text) return;
  if (!on) await begun();
  if (!live) return;
  $('text').value = '';
  happened({ type: '.typed', text });
});

/** Start without the microphone, for who types first; resolves when the session is there. */
const begun = async () => {
  leave();
  on = true;
  render();
  await sound.speak().catch(() => null);
  await link.open(settings.model);
  while (on && !live) await new Promise((go) => setTimeout(go, 50));
};

const keys = {
  s: () => $('start').click(),
  m: () => on && mute(),
  t: () => $('text').focus(),
  '?': () => $('help').togglePopover(),
};

addEventListener('keydown', (event) => {
  const { key, target, repeat } = event;
  if (key === 'Escape') return on && stop();
  if (event.ctrlKey || event.metaKey || event.altKey || target.closest('input, textarea, select, dialog')) return;
  if (key === ' ' && (replay || settings.byHand) && !target.closest('button:not(#talk), summary')) {
    event.preventDefault();
    if (!repeat) (replay ? playOrPause : press)();
  } else if (!repeat && keys[key.toLowerCase()]) {
    event.preventDefault();
    keys[key.toLowerCase()]();
  }
});
addEventListener('keyup', ({ key }) => key === ' ' && release());
$('files').addEventListener('toggle', async ({ newState }) => {
  files ??= new (await import('./files.js')).Files(withKey);
  files.show(newState === 'open');
});
addEventListener('recolour', () => timeline.learnColours());
navigator.mediaDevices?.addEventListener('devicechange', () => on && listDevices());

show($('here'), location.host);
$('insecure').hidden = isSecureContext;
render();
requestAnimationFrame(draw);
