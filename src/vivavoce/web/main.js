/** The page put together: what a person does, what the server tells, and what is seen of both. */

import { $, clock, make, show } from './dom.js';
import { Latency } from './latency.js';
import { Link, Refused, ephemeralKey } from './link.js';
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
  NotAllowedError: 'was refused: allow it beside the address of this page',
  NotFoundError: 'was not found: plug one in',
  NotReadableError: 'is in use elsewhere: free it',
};

const timeline = new Timeline($('timeline'));
const log = new Log($('log'), $('count'));
const scene = new Scene({ timeline, latency: new Latency($('latency'), $('stages')) });
const settings = new Settings(update);
const transcript = new Transcript($('transcript'), (call, output) => happened({ type: '.returned', call, output }));
const sound = new Sound({ frame, report, hushed: (heard) => happened({ type: '.hushed', heard }), gone: listen });
const link = new Link({ event: told, sent: (event) => log.add('out', event), lost, ended }, () => withKey(ephemeralKey));

let replay = null;
let on = false; // whether a session is wanted
let live = false; // whether there is one
let heldMs = null; // how long push-to-talk has been held
let apiKey = sessionStorage.getItem('vivavoce.key') ?? '';
let pending = ''; // typed before there is a session
let files = null;
const asked = new Set(); // events that another server may well refuse

// The session ------------------------------------------------------------------------------------------------------

function happened(what, time = sound.now) {
  for (const effect of scene.take(what, time)) (effects[effect.do] ?? tellSound)(effect);
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

const tellSound = (effect) => sound.tell(effect.do, effect.item);

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
  if (event.type === 'session.created') greet(event.session);
  if (event.type === 'session.updated') settings.note('in effect');
}

function greet(session) {
  settings.offer(session);
  scene.begin();
  live = true;
  configure(session);
  recall(scene.state).forEach((event) => link.send(event));
  if ($('banner').className) tell('');
  if (pending) happened({ type: '.typed', text: pending });
  pending = '';
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
  tell(`The connection is lost; next try in ${Math.ceil(seconds)} s. What was said is kept.`, 'quiet');
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
      if (!dialog.returnValue) return reject(new Refused('This server asks for a key.', 403));
      if ($('keep').checked) sessionStorage.setItem('vivavoce.key', value);
      resolve(value);
    };
    dialog.returnValue = '';
    dialog.showModal();
  });

// The microphone ---------------------------------------------------------------------------------------------------

/** Begin, with the microphone or, for who types first, without. */
async function begin(open) {
  leave();
  on = true;
  if (!scene.state.items.length) timeline.clear();
  render();
  await open();
  if (on && !link.wanted) link.open(settings.model);
}

/** Open the microphone, or say why there is none: one can still type and hear. */
async function listen() {
  const asking = setTimeout(tell, SLOW_MS, 'Your browser asks for the microphone: allow it there.', 'quiet');
  try {
    await sound.open({ input: $('input').value, output: $('output').value });
    tell('');
    await listDevices();
  } catch (wrong) {
    tell(`The microphone ${REFUSED[wrong.name] ?? `cannot be used (${wrong.message})`}, then start again; or type.`);
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

function frame({ audio, time, level }) {
  timeline.add('you', time, level);
  $('level').style.transform = `scaleX(${Math.min(1, Math.sqrt(level))})`;
  if (!live || link.socket?.bufferedAmount > MOST_WAITING) return;
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
  for (const id of ['input', 'output']) {
    const found = devices.filter(({ kind, deviceId }) => kind === `audio${id}` && deviceId && deviceId !== 'default');
    const { value, firstElementChild: usual } = $(id);
    $(id).replaceChildren(usual, ...found.map(({ deviceId, label }) => make('option', { value: deviceId }, label)));
    $(id).value = value;
    if ($(id).selectedIndex < 0) $(id).value = '';
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

const word = (now) => {
  if (replay) return `replay, ${now}`;
  return live ? now : on ? 'connecting' : 'not connected';
};

let drawn = 0;

function draw(at) {
  requestAnimationFrame(draw);
  if (at - drawn < DRAW_MS) return;
  drawn = at;
  replay?.follow();
  const { state } = scene;
  const now = mood(state);
  show($('state'), word(now));
  document.body.dataset.state = live || replay ? now.split(' ')[0] : 'off';
  $('stop').disabled = state.idle && now !== 'thinking';
  $('welcome').hidden = live || Boolean(replay) || state.items.length > 0;
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

const click = (id, does) => ($(id).onclick = does);
const change = (id, does) => ($(id).onchange = ({ target }) => does(target));

click('start', () => (on ? end() : begin(listen)));
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
$('filter').oninput = ({ target }) => log.look({ filter: target.value });
$('seek').oninput = ({ target }) => replay.seek(Number(target.value));
$('talk').onpointerdown = press;
for (const type of ['pointerup', 'pointercancel', 'blur']) addEventListener(type, release);
$('dock').onsubmit = (event) => {
  event.preventDefault();
  type($('text').value.trim());
};

async function type(text) {
  if (!text) return;
  if (live) happened({ type: '.typed', text });
  else pending = text;
  $('text').value = '';
  if (!on) await begin(() => sound.speak());
}

const keys = {
  s: () => $('start').click(),
  m: () => on && mute(),
  t: () => $('text').focus(),
  '?': () => $('help').togglePopover(),
};

addEventListener('keydown', (event) => {
  const { key, target, repeat } = event;
  if (key === 'Escape') return on && !document.querySelector(':popover-open') && stop();
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
$('files').ontoggle = async ({ newState }) => {
  files ??= new (await import('./files.js')).Files(withKey);
  files.show(newState === 'open');
};
addEventListener('recolour', () => timeline.learnColours());
if (navigator.mediaDevices) navigator.mediaDevices.ondevicechange = () => on && listDevices();

show($('here'), location.host);
$('insecure').hidden = isSecureContext;
render();
requestAnimationFrame(draw);
