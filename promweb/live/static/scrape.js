// Turns the text of a scrape into numbers. Nothing here touches the page.

const url = new URL("?file=vocabulary.js", import.meta.url).href;
const [PROMWEB, OTEL] = (await import(url)).VOCABULARIES;

// Label values may have any character, those that end a line for JavaScript included.
const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?[ \t]+(\S+)(?:[ \t]+-?\d+)?$/s;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/gs;

export const QUANTILES = [0.5, 0.95, 0.99];

// A route's numbers are an array: requests, those with status 4xx, those with 5xx, their seconds,
// and the histogram's cumulative count at each bound.
const REQUESTS = 0;
const REFUSED = 1;
const FAILED = 2;
const SECONDS = 3;
const BUCKETS = 4;
const CLASSES = { 4: REFUSED, 5: FAILED };

/** Read the text format 0.0.4: the type of each family, and the samples of each name. */
export function parse(text) {
  const types = new Map();
  const samples = new Map();
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith("#")) {
      const [, keyword, name, type] = line.split(/[ \t]+/);
      if (keyword === "TYPE") types.set(name, type);
      continue;
    }
    const found = SAMPLE.exec(line);
    if (!found) continue;
    const [, name, labels = "", value] = found;
    if (!samples.has(name)) samples.set(name, []);
    samples.get(name).push({ labels: parseLabels(labels), value: parseNumber(value) });
  }
  return { types, samples };
}

function parseLabels(text) {
  const unescape = (_, character) => (character === "n" ? "\n" : character);
  const labels = {};
  for (const [, name, value] of text.matchAll(LABEL)) {
    labels[name] = value.replace(/\\(.)/gs, unescape);
  }
  return labels;
}

function parseNumber(text) {
  const infinity = /^([+-]?)Inf/i.exec(text);
  return infinity ? (infinity[1] === "-" ? -Infinity : Infinity) : Number(text);
}

/**
 * Return the prefixes of default metrics in a scrape, such as `flask_`, then the beginning of
 * OpenTelemetry's names. Other programs have histograms of such names, too, but only promweb
 * exposes its version beside them.
 */
export function prefixes({ types }) {
  const durations = [...types]
    .filter(([, type]) => ["histogram", "summary"].includes(type))
    .map(([name]) => name);
  return [
    ...durations
      .filter((name) => name.endsWith(PROMWEB.duration))
      .map((name) => name.slice(0, -PROMWEB.duration.length))
      .filter((prefix) => types.has(prefix + PROMWEB.info)),
    ...(durations.includes(OTEL.duration) ? [OTEL.start] : []),
  ];
}

/** Return what a scrape says under a prefix: totals by route, by websocket route, by worker. */
export function read(scrape, start) {
  const samples = (name) => scrape.samples.get(name) ?? [];
  const isOtel = start === OTEL.start && scrape.types.has(OTEL.duration);
  const [words, prefix] = isOtel ? [OTEL, ""] : [PROMWEB, start];
  const busy = prefix + words.in_progress;
  return {
    histogram: scrape.types.get(prefix + words.duration) === "histogram",
    ...readRoutes(samples, prefix, words),
    inProgress: scrape.types.has(busy) ? total(samples(busy)) : null,
    websockets: readWebsockets(samples, prefix, words),
    loops: readLoops(scrape, prefix, words),
    workers: readWorkers(samples),
  };
}

function readRoutes(samples, prefix, words) {
  const name = prefix + words.duration;
  const group =
    words.group ?? findGroup(samples(`${name}_count`), samples(prefix + words.requests));
  const upper = (labels) => parseNumber(labels.le);
  const bounds = [...new Set(samples(`${name}_bucket`).map(({ labels }) => upper(labels)))];
  bounds.sort((one, other) => one - other);
  const places = new Map(bounds.map((bound, index) => [bound, BUCKETS + index]));
  const routes = new Map();
  const add = (labels, place, value) => {
    const key = `${labels[words.method]} ${labels[group] || words.unmatched}`;
    if (!routes.has(key)) routes.set(key, Array(BUCKETS + bounds.length).fill(0));
    routes.get(key)[place] += value || 0;
  };
  for (const { labels, value } of samples(`${name}_count`)) {
    add(labels, REQUESTS, value);
    const place = CLASSES[labels[words.status]?.[0]];
    if (place) add(labels, place, value);
  }
  for (const { labels, value } of samples(`${name}_sum`)) add(labels, SECONDS, value);
  for (const { labels, value } of samples(`${name}_bucket`)) {
    add(labels, places.get(upper(labels)), value);
  }
  return { bounds, routes };
}

/** Return the label with the route: the counter of requests does not have it. */
function findGroup([duration], [requests]) {
  const others = { method: "", status: "", ...requests?.labels };
  return Object.keys(duration?.labels ?? {}).find((name) => !Object.hasOwn(others, name));
}

/** By route: messages of both directions, those received, those sent, connections closed, open. */
function readWebsockets(samples, prefix, { unmatched }) {
  const found = new Map();
  const add = ({ labels, value }, ...places) => {
    const { direction, close_code, pid, ...group } = labels;
    const key = Object.values(group).join(" ") || unmatched;
    if (!found.has(key)) found.set(key, [0, 0, 0, 0, 0]);
    for (const place of places) found.get(key)[place] += value || 0;
  };
  for (const sample of samples(`${prefix}websocket_messages_total`)) {
    add(sample, 0, sample.labels.direction === "received" ? 1 : 2);
  }
  const closed = `${prefix}websocket_connection_duration_seconds_count`;
  for (const sample of samples(closed)) add(sample, 3);
  for (const sample of samples(`${prefix}websocket_connections_in_progress`)) add(sample, 4);
  return found;
}

/**
 * By route: requests, seconds in which they held the event loop, and how many of them held it
 * without a break for up to each bound.
 */
function readLoops({ samples: all }, prefix, words) {
  const samples = (name) => all.get(name) ?? [];
  const duration = samples(`${prefix}${words.duration}_count`);
  const group = words.group ?? findGroup(duration, samples(prefix + words.requests));
  const upper = ({ labels }) => parseNumber(labels.le);
  const buckets = samples(`${prefix}${words.loop_block}_bucket`);
  const bounds = [...new Set(buckets.map(upper))].sort((one, other) => one - other);
  const routes = new Map();
  const add = ({ labels, value }, place) => {
    const key = labels[group] || words.unmatched;
    if (!routes.has(key)) routes.set(key, Array(2 + bounds.length).fill(0));
    routes.get(key)[place] += value || 0;
  };
  for (const sample of samples(`${prefix}${words.loop_block}_count`)) add(sample, 0);
  for (const sample of samples(prefix + words.loop_seconds)) add(sample, 1);
  for (const sample of buckets) add(sample, 2 + bounds.indexOf(upper(sample)));
  return { bounds, routes };
}

/** By process (a label tells several apart): CPU seconds, bytes, files, start. */
function readWorkers(samples) {
  const names = ["cpu_seconds_total", "resident_memory_bytes", "open_fds", "start_time_seconds"];
  const found = new Map();
  names.forEach((name, place) => {
    for (const { labels, value } of samples(`process_${name}`)) {
      const key = labels.pid ?? "";
      if (!found.has(key)) found.set(key, Array(names.length).fill(NaN));
      found.get(key)[place] = value;
    }
  });
  return found;
}

const total = (samples) => samples.reduce((sum, { value }) => sum + value, 0);

/**
 * Return the increases of some totals, without zeros. A first number that fell means that the
 * process restarted from zero.
 */
export function increases(now, before) {
  const found = new Map();
  for (const [key, values] of now) {
    const old = before.get(key);
    const base = old && old[0] <= values[0] ? old : [];
    const added = values.map((value, index) => value - (base[index] ?? 0));
    if (added[0] > 0) found.set(key, added);
  }
  return found;
}

/** Return the sums of several increases. */
export function sum(parts) {
  const found = new Map();
  for (const part of parts) {
    for (const [key, values] of part) {
      const old = found.get(key);
      found.set(key, old ? values.map((value, index) => value + old[index]) : values);
    }
  }
  return found;
}

/**
 * Sum up the increases of routes: requests per second, the shares with status 4xx and 5xx, and
 * durations: the quantiles of a histogram, the mean of a summary. NaN means unknown.
 */
export function summarise(routes, seconds, { histogram, bounds }) {
  const empty = Array(BUCKETS + bounds.length).fill(0);
  const values = [...routes].reduce((one, other) => one.map((v, i) => v + other[i]), empty);
  const requests = values[REQUESTS];
  return {
    rate: requests / seconds,
    errors: [values[REFUSED] / requests, values[FAILED] / requests],
    durations: histogram
      ? QUANTILES.map((q) => quantile(q, bounds, values.slice(BUCKETS)))
      : [values[SECONDS] / requests],
  };
}

/**
 * Estimate a quantile from cumulative buckets as Prometheus does: linear within a bucket, and the
 * highest finite bound for a quantile above it.
 */
export function quantile(q, bounds, cumulative) {
  const count = cumulative.at(-1);
  if (!(count > 0)) return NaN;
  const place = cumulative.findIndex((value) => value >= q * count);
  if (bounds[place] === Infinity) return place ? bounds[place - 1] : NaN;
  const [lower, below] = place ? [bounds[place - 1], cumulative[place - 1]] : [0, 0];
  const share = (q * count - below) / (cumulative[place] - below);
  // Rounded, so that equal routes do not change places because of a last bit.
  return Number((lower + (bounds[place] - lower) * share).toPrecision(9));
}
