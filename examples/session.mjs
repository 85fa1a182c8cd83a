// Ask several questions about one image, which is uploaded once: node session.mjs IMAGE QUESTION...
import { readFile } from 'node:fs/promises';

const url = process.env.LLAVA_GATEWAY_URL ?? 'http://127.0.0.1:8000';
const key = process.env.LLAVA_GATEWAY_API_KEY;
const [path, ...questions] = process.argv.slice(2);

async function call(method, route, body) {
  const headers = { 'Content-Type': 'application/json', ...(key && { Authorization: `Bearer ${key}` }) };
  const response = await fetch(url + route, { method, headers, body: body && JSON.stringify(body) });
  const answer = response.status === 204 ? null : await response.json();
  if (!response.ok) throw new Error(`${answer.detail} ${answer.error.hint}`);
  return answer;
}

try {
  const { id } = await call('POST', '/sessions', {});
  let images = [(await readFile(path)).toString('base64')];
  for (const question of questions) {
    const answer = await call('POST', `/sessions/${id}/turns`, { prompt: question, images });
    images = []; // the session has it now
    console.log(`${question}\n  ${answer.message.content}`);
  }
  await call('DELETE', `/sessions/${id}`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
