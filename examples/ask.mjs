// Ask about an image, and print the words as they come: node ask.mjs IMAGE QUESTION
import { readFile } from 'node:fs/promises';

const url = process.env.LLAVA_GATEWAY_URL ?? 'http://127.0.0.1:8000';
const key = process.env.LLAVA_GATEWAY_API_KEY;
const [path, question] = process.argv.slice(2);

/** The events of an answer, as they come: {name, data}. */
async function* events(form) {
  const headers = { Accept: 'text/event-stream', ...(key && { Authorization: `Bearer ${key}` }) };
  const response = await fetch(`${url}/ask`, { method: 'POST', headers, body: form });
  if (!response.ok) throw new Error(sentence(await response.json()));
  let rest = '';
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const blocks = (rest + text).split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      const name = /^event: (.*)$/m.exec(block)?.[1];
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (name && data) yield { name, data: JSON.parse(data) };
    }
  }
}

const sentence = (problem) => `${problem.detail} ${problem.error.hint}`;

const form = new FormData();
form.append('image', new Blob([await readFile(path)]), path);
form.append('prompt', question);
try {
  for await (const { name, data } of events(form)) {
    if (name === 'delta') process.stdout.write(data.text);
    if (name === 'error') throw new Error(sentence(data)); // after the first word: the status was already sent
  }
  process.stdout.write('\n');
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
