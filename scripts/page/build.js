// Bundles the page. Called by scripts/page.sh with the folders of the page and of this script.
//   built/early.js   what must run before the first paint, with the words of the frame in index.html in each language
//   built/page.js    all modules, the vendored ones too
//   built/page.css   all style sheets
// index.html names each with a digest of its content, so that browsers may keep the files for as long as they like.

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

const [web, tools] = process.argv.slice(2);
const page = join(web, 'index.html');
const html = readFileSync(page, 'utf8');

/** Of all that goes in, in a fixed order; tests/page/test_bundle.py computes the same. */
function digestOfSources() {
  const digest = createHash('sha256');
  const sources = readdirSync(web, { recursive: true, encoding: 'utf8' })
    .map((name) => name.replaceAll('\\', '/'))
    .filter((name) => /^(js|css)\/.*\.(js|css)$|^vendor\/(?!swagger)[\w-]+\.js$/.test(name));
  for (const name of sources.sort()) digest.update(`${name}\n`).update(readFileSync(join(web, name)));
  for (const name of ['build.js', 'package-lock.json']) digest.update(`${name}\n`).update(readFileSync(join(tools, name)));
  return digest.update(html.replaceAll(/\?v=\w*/g, '')).digest('hex');
}

/** @param {import('esbuild').BuildOptions} options */
async function bundled(options) {
  const { outputFiles } = await build({ absWorkingDir: web, bundle: true, write: false, minify: true, charset: 'utf8', legalComments: 'eof', logLevel: 'warning', ...options });
  return outputFiles[0].text;
}

/** Of each language its tag and the words of the frame. */
async function wordsOfFrame() {
  const code = await bundled({ entryPoints: ['js/i18n/languages.js'], format: 'esm' });
  const { LANGUAGES } = await import(`data:text/javascript,${encodeURIComponent(code)}`);
  const keys = [...html.matchAll(/data-(?:words|touch)="([\w.]+)"/g)].map(([, key]) => key);
  const of = ([code, { tag, words }]) => [code, { tag, words: Object.fromEntries(keys.map((key) => [key, words[key]])) }];
  return Object.fromEntries(Object.entries(LANGUAGES).map(of));
}

const sources = `/* Made by scripts/page.sh; change the files beside this folder instead. Sources: ${digestOfSources()} */`;
const made = {
  'early.js': await bundled({
    entryPoints: ['js/early.js'],
    format: 'iife',
    banner: { js: sources },
    define: { 'globalThis.FRAME_WORDS': JSON.stringify(await wordsOfFrame()) },
  }),
  'page.js': await bundled({ entryPoints: ['js/main.js'], format: 'esm', banner: { js: sources } }),
  'page.css': await bundled({ entryPoints: ['css/page.css'], banner: { css: sources } }),
};
let named = html;
for (const [name, text] of Object.entries(made)) {
  writeFileSync(join(web, 'built', name), text);
  const digest = createHash('sha256').update(text).digest('hex').slice(0, 12);
  named = named.replaceAll(new RegExp(`(static/built/${name})(\\?v=\\w*)?`, 'g'), `$1?v=${digest}`);
}
writeFileSync(page, named);
