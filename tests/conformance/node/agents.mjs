// The official agent framework for JavaScript, through every flow. Prints what it has received and remembers, as JSON.
// Usage: node agents.mjs URL SPEECH, with an utterance as PCM of 24 kHz in a file.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { RealtimeAgent, RealtimeSession, tool } from '@openai/agents-realtime';
import { z } from 'zod';

const [, , url, speechFile] = process.argv;
const speech = readFileSync(speechFile);

const getWeather = tool({
  name: 'get_weather',
  description: 'The weather in a city.',
  parameters: z.object({ city: z.string() }),
  execute: async ({ city }) => `sunny in ${city}`,
});

async function open() {
  const agent = new RealtimeAgent({ name: 'Host', instructions: 'Be brief.', tools: [getWeather] });
  const session = new RealtimeSession(agent, { transport: 'websocket', model: 'gpt-realtime' });
  const told = { frames: [], understood: [], errors: [], interruptions: 0 };
  const known = new Set();
  session.on('error', ({ error }) => told.errors.push(String(error?.message ?? JSON.stringify(error))));
  session.on('audio_interrupted', () => told.interruptions++);
  // A frame that its schema refuses is handed out as '*' only.
  session.transport.on('*', (frame) => {
    if (!known.has(frame.type)) {
      known.add(frame.type);
      session.transport.on(frame.type, (event) => told.understood.push((event.error ?? event).event_id));
    }
    told.frames.push(frame);
  });
  await session.connect({ apiKey: 'none', url });
  return { session, told };
}

async function until(told, wanted) {
  for (let waited = 0; !wanted(told.frames); waited += 5) {
    if (waited > 20_000) throw new Error(`nothing comes after ${told.frames.map(({ type }) => type).join(' ')}`);
    await sleep(5);
  }
}

const answers = (count) => (frames) => frames.filter(({ type }) => type === 'rate_limits.updated').length >= count;

async function speak(session) {
  for (let start = 0; start < speech.length; start += 960) {
    session.sendAudio(new Uint8Array(speech.subarray(start, start + 960)).buffer);
    await sleep(5);
  }
}

async function everyFlow() {
  const { session, told } = await open();
  await speak(session);
  await until(told, answers(1));
  session.sendMessage('What time is it?');
  await until(told, answers(2));
  session.sendMessage('How is the weather?');
  await until(told, answers(4));
  const played = told.frames.length;
  session.sendMessage('Tell me a story.');
  await until(told, (frames) => frames.slice(played).some(({ type }) => type === 'response.output_audio.delta'));
  await speak(session);
  await until(told, answers(6));
  return finish(session, told);
}

async function typedTurn() {
  const { session, told } = await open();
  session.sendMessage('What time is it?');
  await until(told, answers(1));
  return finish(session, told);
}

function finish(session, told) {
  const { inputTokens, outputTokens } = session.usage;
  session.close();
  return { ...told, history: session.history, usage: { inputTokens, outputTokens } };
}

const sessions = [await everyFlow(), await typedTurn()];
if (!process.stdout.write(JSON.stringify(sessions))) await once(process.stdout, 'drain');
