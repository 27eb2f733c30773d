// The official package for JavaScript, through every flow, over TLS. Prints all frames that it has received, as JSON.
// Usage: node openai.mjs URL SPEECH, with an utterance as PCM of 24 kHz in a file.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import OpenAI from 'openai';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';

const [, , url, speechFile] = process.argv;
const speech = readFileSync(speechFile);
const client = new OpenAI({ apiKey: 'none', baseURL: url.replace('wss:', 'https:').replace('/realtime', '') });

async function open(settings) {
  const socket = new OpenAIRealtimeWS({ model: 'gpt-realtime' }, client);
  const told = { frames: [], errors: [] };
  socket.on('error', (error) => told.errors.push(error.message));
  socket.on('event', (frame) => told.frames.push(frame));
  await once(socket.socket, 'open');
  await until(told, answers('session.created', 1));
  socket.send({ type: 'session.update', session: { type: 'realtime', ...settings } });
  await until(told, answers('session.updated', 1));
  return { socket, told };
}

async function until(told, wanted) {
  for (let waited = 0; !wanted(told.frames); waited += 5) {
    if (waited > 20_000) throw new Error(`nothing comes after ${told.frames.map(({ type }) => type).join(' ')}`);
    await sleep(5);
  }
}

const answers = (kind, count) => (frames) => frames.filter(({ type }) => type === kind).length >= count;
const answered = (count) => answers('rate_limits.updated', count);

async function speak(socket) {
  for (let start = 0; start < speech.length; start += 960) {
    const audio = speech.subarray(start, start + 960).toString('base64');
    socket.send({ type: 'input_audio_buffer.append', audio });
    await sleep(5);
  }
}

function type(socket, text) {
  const item = { type: 'message', role: 'user', content: [{ type: 'input_text', text }] };
  socket.send({ type: 'conversation.item.create', item });
  socket.send({ type: 'response.create' });
}

const weather = {
  type: 'function',
  name: 'get_weather',
  description: 'The weather in a city.',
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
};

async function everyFlow() {
  const transcription = { model: 'gpt-4o-mini-transcribe' };
  const { socket, told } = await open({ tools: [weather], audio: { input: { transcription } } });
  await speak(socket);
  await until(told, answered(1));
  type(socket, 'What time is it?');
  await until(told, answered(2));
  type(socket, 'How is the weather?');
  await until(told, answered(3));
  const { call_id } = told.frames.findLast(({ type }) => type === 'response.done').response.output[0];
  const item = { type: 'function_call_output', call_id, output: 'sunny in Oslo' };
  socket.send({ type: 'conversation.item.create', item });
  socket.send({ type: 'response.create' });
  await until(told, answered(4));
  const played = told.frames.length;
  type(socket, 'Tell me a story.');
  await until(told, (frames) => answers('response.output_audio.delta', 1)(frames.slice(played)));
  await speak(socket);
  await until(told, answered(6));
  return finish(socket, told);
}

async function typedTurn() {
  const { socket, told } = await open({ output_modalities: ['text'] });
  type(socket, 'What time is it?');
  await until(told, answered(1));
  return finish(socket, told);
}

function finish(socket, told) {
  socket.close();
  return told;
}

const sessions = [await everyFlow(), await typedTurn()];
if (!process.stdout.write(JSON.stringify(sessions))) await once(process.stdout, 'drain');
