"use strict";

// Light and dark: the system's wish, until the button says otherwise.
const theme = document.getElementById("theme");
const root = document.documentElement;
const remembered = (() => { try { return localStorage.getItem("sepasr-theme"); } catch { return null; } })();
if (remembered === "light" || remembered === "dark") root.dataset.theme = remembered;
theme.hidden = false;
theme.addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("sepasr-theme", root.dataset.theme); } catch { /* A page from a file may have no store. */ }
});

// The table: a button in each head sorts, the form filters.
const table = document.getElementById("all");
const body = table.tBodies[0];
const rows = [...body.rows];
const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
const names = new Intl.Collator("en", { numeric: true });

function value(row, index) {
  const cell = row.cells[index];
  if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
  return heads[index].classList.contains("words") ? cell.textContent : null;
}

function sort(index) {
  const head = heads[index];
  const words = head.classList.contains("words");
  const before = head.getAttribute("aria-sort");
  const down = before ? before === "ascending" : !words;
  for (const other of heads) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const keyed = rows.map((row, place) => [value(row, index), place, row]);
  keyed.sort(([a, i], [b, j]) => {
    // What has no value comes last, whichever way.
    if (a === null || b === null) return (a === null) - (b === null) || i - j;
    const order = words ? names.compare(a, b) : a - b;
    return (down ? -order : order) || i - j;
  });
  body.append(...keyed.map(([, , row]) => row));
}

heads.forEach((head, index) => {
  const button = head.querySelector("button");
  button.disabled = false;
  button.addEventListener("click", () => sort(index));
});

const form = document.getElementById("filters");
const field = (id) => document.getElementById(id);

function filter() {
  const wanted = field("find").value.trim().toLowerCase();
  const speaker = field("speaker").value;
  const metric = field("metric").value;
  const limit = field("limit").value === "" ? null : Number(field("limit").value);
  const side = Number(field("side").value);
  const audible = field("audible")?.checked;
  let shown = 0;
  for (const row of rows) {
    let keep = !wanted || row.dataset.words.includes(wanted);
    keep &&= !speaker || JSON.parse(row.dataset.speakers).includes(speaker);
    keep &&= !audible || row.dataset.sound !== undefined;
    if (keep && metric !== "") {
      const found = value(row, Number(metric));
      keep = found !== null && (limit === null || side * (found - limit) > 0);
    }
    row.hidden = !keep;
    shown += keep;
  }
  field("shown").value = shown === rows.length ? `${shown} recordings` : `${shown} of ${rows.length} recordings`;
}

form.hidden = false;
for (const name of ["input", "change"]) form.addEventListener(name, filter);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(filter));
filter();

// Sound: a button and a picture instead of the browser's own controls; drawn when a recording is opened.
const WAVE = 34;
const WINDOW = 512;
const FLOOR = 75;

function fft(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) { [re[i], re[j]] = [re[j], re[i]]; }
  }
  for (let size = 2; size <= n; size <<= 1) {
    const half = size >> 1;
    for (let k = 0; k < half; k++) {
      const c = Math.cos(-2 * Math.PI * k / size), s = Math.sin(-2 * Math.PI * k / size);
      for (let i = k; i < n; i += size) {
        const j = i + half;
        const x = re[j] * c - im[j] * s, y = re[j] * s + im[j] * c;
        re[j] = re[i] - x; im[j] = im[i] - y;
        re[i] += x; im[i] += y;
      }
    }
  }
}

// Dark to bright with even steps of lightness.
const STOPS = [[0, 0, 4], [60, 15, 110], [140, 41, 129], [222, 73, 104], [254, 159, 109], [252, 253, 191]];
const PALETTE = Array.from({ length: 256 }, (_, level) => {
  const at = level / 255 * (STOPS.length - 1), low = Math.min(Math.floor(at), STOPS.length - 2);
  return STOPS[low].map((start, c) => start + (STOPS[low + 1][c] - start) * (at - low));
});

function draw(canvas, samples) {
  const scale = Math.min(window.devicePixelRatio || 1, 2);
  const width = Math.max(1, Math.round(canvas.clientWidth * scale));
  const height = Math.round(canvas.clientHeight * scale);
  const wave = Math.round(WAVE * scale);
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d");
  let peak = 1e-6;
  for (const sample of samples) peak = Math.max(peak, Math.abs(sample));
  pen.fillStyle = "#8fd0ff";
  for (let x = 0; x < width; x++) {
    const start = Math.floor(x * samples.length / width);
    const end = Math.max(start + 1, Math.floor((x + 1) * samples.length / width));
    let low = 0, high = 0;
    for (let n = start; n < end && n < samples.length; n++) { low = Math.min(low, samples[n]); high = Math.max(high, samples[n]); }
    const top = (1 - high / peak) * wave / 2, bottom = (1 - low / peak) * wave / 2;
    pen.fillRect(x, top, 1, Math.max(1, bottom - top));
  }
  const bins = WINDOW / 2, picture = height - wave;
  const levels = new Float32Array(width * bins);
  const re = new Float64Array(WINDOW), im = new Float64Array(WINDOW);
  let loudest = -200;
  for (let x = 0; x < width; x++) {
    const middle = Math.round((x + .5) * samples.length / width);
    for (let n = 0; n < WINDOW; n++) {
      re[n] = (samples[middle + n - bins] || 0) * (.5 - .5 * Math.cos(2 * Math.PI * n / WINDOW));
      im[n] = 0;
    }
    fft(re, im);
    for (let k = 0; k < bins; k++) {
      const level = 10 * Math.log10(re[k] * re[k] + im[k] * im[k] + 1e-12);
      levels[x * bins + k] = level;
      loudest = Math.max(loudest, level);
    }
  }
  const image = pen.createImageData(width, picture);
  for (let y = 0; y < picture; y++) {
    const k = Math.min(bins - 1, Math.floor((1 - y / picture) * bins));
    for (let x = 0; x < width; x++) {
      const level = Math.max(0, Math.min(1, 1 + (levels[x * bins + k] - loudest) / FLOOR));
      image.data.set([...PALETTE[Math.round(level * 255)], 255], 4 * (y * width + x));
    }
  }
  pen.putImageData(image, 0, wave);
}

const seconds = (time) => time.toFixed(1);

function player(audio) {
  const clip = audio.parentElement;
  const label = audio.getAttribute("aria-label");
  const bar = clip.querySelector(".bar");
  const button = Object.assign(document.createElement("button"), { type: "button", className: "play", textContent: "▶" });
  const time = Object.assign(document.createElement("span"), { className: "time" });
  const view = Object.assign(document.createElement("div"), { className: "view", tabIndex: 0, role: "slider" });
  const canvas = document.createElement("canvas");
  const cursor = Object.assign(document.createElement("div"), { className: "cursor" });
  const top = Object.assign(document.createElement("div"), { className: "top", textContent: `${audio.dataset.rate / 2000} kHz` });
  button.setAttribute("aria-label", `Play ${label}`);
  view.setAttribute("aria-label", `Position in ${label}`);
  view.setAttribute("aria-valuemin", "0");
  view.append(canvas, cursor, top);
  bar.prepend(button);
  bar.append(time);
  bar.after(view);
  audio.controls = false;
  let length = 0;

  const duration = () => (Number.isFinite(audio.duration) ? audio.duration : length);
  function tell() {
    cursor.style.left = `calc(${100 * audio.currentTime / (duration() || 1)}% - 1px)`;
    time.textContent = `${seconds(audio.currentTime)} / ${seconds(duration())} s`;
    view.setAttribute("aria-valuemax", seconds(duration()));
    view.setAttribute("aria-valuenow", seconds(audio.currentTime));
    view.setAttribute("aria-valuetext", `${seconds(audio.currentTime)} of ${seconds(duration())} seconds`);
    if (!audio.paused) requestAnimationFrame(tell);
  }
  function seek(to) {
    audio.currentTime = Math.max(0, Math.min(duration() || 0, to));
    tell();
  }
  function toggle() {
    if (!audio.paused) { audio.pause(); return; }
    // One signal after the other at the same moment: what is compared is heard at the same place.
    for (const other of document.querySelectorAll("audio")) {
      if (other === audio || other.paused) continue;
      other.pause();
      if (other.closest(".recording") === audio.closest(".recording")) audio.currentTime = other.currentTime;
    }
    // A pause before it has begun breaks the promise; the button shows what is so.
    audio.play().catch(tell);
  }
  button.addEventListener("click", toggle);
  view.addEventListener("click", (event) => seek(event.offsetX / view.clientWidth * duration()));
  view.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -.5, ArrowRight: .5, PageDown: -2, PageUp: 2, Home: -1e9, End: 1e9 };
    if (event.key === " " || event.key === "Enter") toggle();
    else if (event.key in steps) seek(audio.currentTime + steps[event.key]);
    else return;
    event.preventDefault();
  });
  for (const name of ["play", "pause", "ended", "seeked", "loadedmetadata"]) {
    audio.addEventListener(name, () => {
      button.textContent = audio.paused ? "▶" : "❚❚";
      button.setAttribute("aria-label", `${audio.paused ? "Play" : "Pause"} ${label}`);
      tell();
    });
  }

  async function paint() {
    const bytes = Uint8Array.from(atob(audio.src.slice(audio.src.indexOf(",") + 1)), (letter) => letter.charCodeAt(0));
    // From a blob one can seek, whatever the browser makes of data addresses.
    audio.src = URL.createObjectURL(new Blob([bytes], { type: "audio/mpeg" }));
    audio.preload = "metadata";
    let context;
    try { context = new OfflineAudioContext(1, 1, Number(audio.dataset.rate)); } catch { context = new OfflineAudioContext(1, 1, 44100); }
    const sound = await context.decodeAudioData(bytes.buffer);
    const samples = sound.getChannelData(0);
    length = sound.duration;
    draw(canvas, samples);
    tell();
    let width = canvas.clientWidth;
    new ResizeObserver(() => {
      if (canvas.clientWidth && canvas.clientWidth !== width) { width = canvas.clientWidth; draw(canvas, samples); }
    }).observe(view);
    view.dataset.drawn = "";
  }
  return paint;
}

for (const recording of document.querySelectorAll("details.recording")) {
  const open = async () => {
    if (!recording.open || recording.dataset.ready !== undefined) return;
    recording.dataset.ready = "";
    const paints = [...recording.querySelectorAll("audio")].map(player);
    for (const paint of paints) await paint();
  };
  recording.addEventListener("toggle", open);
  open();
}

// A link to a recording opens it.
function follow() {
  const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  if (target && target.matches("details")) { target.open = true; target.scrollIntoView(); }
}
window.addEventListener("hashchange", follow);
follow();
