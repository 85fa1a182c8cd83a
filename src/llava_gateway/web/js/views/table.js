// Answers that are JSON, as tables: an object, a list of objects, and objects with lists of objects inside.

import { html, useState } from '../html.js';
import { t } from '../i18n.js';
import { Choice, CopyButton } from './parts.js';

/** @typedef {Record<string, any>} Row */
/** @typedef {{title: string, columns: string[], rows: Row[]}} Table */

/** With more rows or columns, a table is unreadable: then the JSON is shown. */
const MOST_CELLS = 5000;

/** @param {unknown} value @returns {value is Row} */
const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

/** @param {unknown} value @returns {value is Row[]} */
const isList = (value) => Array.isArray(value) && value.length > 0 && value.every(isObject);

/**
 * Returns the tables of an answer that is only JSON, alone or in a code block; null for any other answer.
 * @param {string} text
 * @returns {Table[]|null}
 */
export function tablesOf(text) {
  const [, inside] = /^\s*```(?:json)?\s*\n([\s\S]*?)\n?```\s*$/.exec(text) ?? [];
  const source = (inside ?? text).trim();
  if (!/^[[{]/.test(source)) return null;
  let value;
  try {
    value = JSON.parse(source);
  } catch {
    return null;
  }
  const tables = isList(value) ? [list('', value)] : isObject(value) ? inObject(value) : [];
  const cells = tables.reduce((total, { columns, rows }) => total + columns.length * rows.length, 0);
  return cells && cells <= MOST_CELLS ? tables : null;
}

/** @param {string} title @param {Row[]} rows @returns {Table} */
const list = (title, rows) => ({ title, columns: [...new Set(rows.flatMap((row) => Object.keys(row)))], rows });

/** The plain values of an object are one row; each list of objects is a separate table. @param {Row} value */
function inObject(value) {
  const entries = Object.entries(value);
  const plain = entries.filter(([, inside]) => !isList(inside));
  const tables = entries.filter(([, inside]) => isList(inside)).map(([name, inside]) => list(name, inside));
  return plain.length ? [list('', [Object.fromEntries(plain)]), ...tables] : tables;
}

/** @param {unknown} value */
function cell(value) {
  if (value === null || value === undefined) return '';
  if (Array.isArray(value) && value.every((one) => typeof one !== 'object')) return value.join(', ');
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** Returns a table as CSV (RFC 4180), with an apostrophe before text that a spreadsheet would take for a formula. @param {Table} table */
function csvOf({ columns, rows }) {
  /** @param {unknown} value */
  const field = (value) => {
    const text = cell(value);
    const safe = typeof value !== 'number' && /^[=+\-@\t\r]/.test(text) && !/^[+-]?\d+([.,]\d+)?$/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [columns, ...rows.map((row) => columns.map((name) => row[name]))].map((line) => `${line.map(field).join(',')}\r\n`).join('');
}

/** @param {{tables: Table[], text: string}} props */
export function Tables({ tables, text }) {
  const [raw, setRaw] = useState(false);
  return html`<div class="words tables">
    <${Choice} label=${t('table.view')} value=${raw} onChoose=${setRaw} choices=${[
      { value: false, label: t('table.table') },
      { value: true, label: 'JSON' },
    ]} />
    ${raw ? html`<pre><code>${text}</code></pre>` : tables.map((table) => html`<${TableView} key=${table.title} table=${table} />`)}
  </div>`;
}

/** The plain values of an object are listed from top to bottom. @param {{table: Table}} props */
function TableView({ table }) {
  const { title, columns, rows } = table;
  const upright = !title && rows.length === 1;
  const numeric = columns.filter((name) => rows.every((row) => row[name] == null || typeof row[name] === 'number'));
  const body = upright
    ? columns.map((name) => html`<tr key=${name}><th scope="row" dir="auto">${name}</th><td dir="auto">${cell(rows[0][name])}</td></tr>`)
    : rows.map((row, i) => html`<tr key=${i}>${columns.map((name) => html`<td key=${name} dir="auto" class=${numeric.includes(name) && 'figures'}>${cell(row[name])}</td>`)}</tr>`);
  return html`<figure>
    ${title && html`<figcaption dir="auto">${title}</figcaption>`}
    <div class="table-row">
      <div class="table" tabindex="0" role="group" aria-label=${title || t('table.table')}>
        <table>
          ${!upright && html`<thead><tr>${columns.map((name) => html`<th key=${name} scope="col" dir="auto">${name}</th>`)}</tr></thead>`}
          <tbody>${body}</tbody>
        </table>
      </div>
      <${CopyButton} text=${csvOf(table)} label=${t('table.copy_csv')} />
    </div>
  </figure>`;
}
