// What an app does with types that were generated from /openapi.json. Run by tests/clients/test_generated.py: client.mjs URL KEY IMAGE

import { readFile } from 'node:fs/promises';
import createClient from 'openapi-fetch';
import type { components, paths } from './api.d.ts';

type AnswerEvent = components['schemas']['AnswerEvent'];

const [url, key, path] = process.argv.slice(2);
const client = createClient<paths, 'application/json' | 'application/problem+json'>({ baseUrl: url, headers: { Authorization: `Bearer ${key}` } });
const image = (await readFile(path)).toString('base64');

const { data: answer } = await client.POST('/ask', { body: { prompt: 'Describe this image.', images: [image] } });
if (!answer) throw new Error('no answer');
const words: string = answer.message.content;
const tokens: number | null = answer.images[0].sent.tokens;
// @ts-expect-error There is no such member.
answer.mesage;

const { error } = await client.POST('/ask', { body: { prompt: 'Hello', model: 'nowhere' } });
if (!error) throw new Error('no error');
const code: string = error.error.code;

const { data: session } = await client.POST('/sessions', { body: { title: 'Shapes' } });
if (!session) throw new Error('no session');
await client.POST('/sessions/{session_id}/turns', { params: { path: { session_id: session.id } }, body: { prompt: 'Hello' } });
const { data: kept } = await client.GET('/sessions/{session_id}', { params: { path: { session_id: session.id } } });
const turns: number | undefined = kept?.turns.length;

const streamed = await fetch(`${url}/ask`, {
  method: 'POST',
  headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json', Accept: 'text/event-stream' },
  body: JSON.stringify({ prompt: 'Describe this image.', images: [image] }),
});
let written = '';
for (const [, name, data] of (await streamed.text()).matchAll(/^event: (\w+)\ndata: (.*)$/gm)) {
  const event = { event: name, data: JSON.parse(data) } as AnswerEvent;
  if (event.event === 'delta') written += event.data.text;
  if (event.event === 'error') throw new Error(event.data.error.code);
}

console.log(JSON.stringify({ words, tokens, code, turns, written }));
