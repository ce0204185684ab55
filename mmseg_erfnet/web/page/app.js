// The page: sources of frames, painting, and messages. worker.js runs the model.
const LONGEST_SIDE = 960; // pixels; larger frames are shrunk for the model
const get = (id) => document.getElementById(id);
const frame = get('frame'), overlay = get('overlay');
const pixels = frame.getContext('2d', { willReadFrequently: true });
const paint = overlay.getContext('2d');
// `source` is the video that is playing; `turn` counts what was opened, so that late results of an earlier one are dropped.
let description, worker, source = null, turn = 0, ticket = 0;
const waiting = new Map();

// --- Messages ---

function say(text, isError = false) {
  get('status').textContent = text;
  get('status').classList.toggle('error', isError);
}

function fail(text) {
  get('progress').hidden = true;
  say(text, true);
}

function showLegend(counts, total) {
  get('legend').replaceChildren(...description.classes.map((name, index) => {
    const item = document.createElement('li'), swatch = document.createElement('span');
    swatch.className = 'swatch';
    swatch.style.background = `rgb(${description.palette[index].join()})`;
    item.append(swatch, name);
    if (counts) {
      const share = document.createElement('span');
      share.className = 'share';
      share.textContent = `${(100 * counts[index] / total).toFixed(1)} %`;
      item.append(share);
      item.classList.toggle('absent', counts[index] === 0);
    }
    return item;
  }));
}

// --- Loading ---

async function fetchWithProgress(url, expected, report) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} cannot be loaded (status ${response.status}): copy the whole folder to the server.`);
  const parts = [], reader = response.body.getReader();
  let loaded = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    loaded += value.length;
    report(Math.min(loaded / expected, 1), loaded);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

async function checkHash(data) {
  if (!crypto.subtle) return; // only available on pages over https or from localhost
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', data));
  const found = [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  if (found !== description.sha256) throw new Error('model.onnx is damaged: copy it to the server again.');
}

function ask(message, transfer = []) {
  return new Promise((resolve, reject) => {
    waiting.set(++ticket, { resolve, reject });
    worker.postMessage({ ...message, id: ticket }, transfer);
  });
}

function startWorker() {
  worker?.terminate();
  worker = new Worker('worker.js', { type: 'module' });
  worker.addEventListener('message', ({ data }) => {
    const { resolve, reject } = waiting.get(data.id);
    waiting.delete(data.id);
    data.error === undefined ? resolve(data.result) : reject(new Error(data.error));
  });
  worker.addEventListener('error', (event) => {
    for (const { reject } of waiting.values()) reject(new Error(event.message || 'worker.js cannot be loaded.'));
    waiting.clear();
  });
}

async function startModel(model) {
  const wanted = new URLSearchParams(location.search).get('backend');
  const gpu = wanted !== 'wasm' && await navigator.gpu?.requestAdapter().catch(() => null);
  const threads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 4) : 1;
  for (const backend of gpu ? ['webgpu', 'wasm'] : ['wasm']) {
    try {
      startWorker();
      await ask({ type: 'load', model, backend, threads });
      // The first run compiles shaders; if WebGPU cannot run the model, it fails here.
      const [height, width] = description.size ?? [64, 64];
      await ask({ type: 'run', pixels: new ArrayBuffer(width * height * 4), width, height });
      get('backend').textContent = backend === 'webgpu' ? 'WebGPU' : `CPU, ${threads} thread${threads > 1 ? 's' : ''}`;
      return;
    } catch (error) {
      if (backend === 'wasm') throw error;
    }
  }
}

async function load() {
  const response = await fetch('model.json');
  if (!response.ok) throw new Error(`model.json cannot be loaded (status ${response.status}): copy the whole folder to the server.`);
  description = await response.json();
  get('about').textContent = `${description.name}: ${description.classes.length} classes. Everything runs in this browser; no picture leaves it.`;
  showLegend();
  const model = await fetchWithProgress('model.onnx', description.bytes, (share, loaded) => {
    get('progress').value = share;
    say(`Loading the model: ${(loaded / 1e6).toFixed(1)} of ${(description.bytes / 1e6).toFixed(1)} MB.`);
  });
  await checkHash(model);
  say('Starting the model.');
  get('progress').removeAttribute('value');
  await startModel(model);
  get('progress').hidden = true;
  for (const id of ['open', 'camera']) get(id).disabled = false;
  say('Ready. Open a picture or a video, drop one, or use the camera.');
}

// --- Predicting ---

function draw(image, width, height) {
  const scale = Math.min(1, LONGEST_SIDE / Math.max(width, height));
  const [toHeight, toWidth] = description.size ?? [Math.max(1, Math.round(height * scale)), Math.max(1, Math.round(width * scale))];
  if (frame.width !== toWidth || frame.height !== toHeight) {
    for (const canvas of [frame, overlay]) [canvas.width, canvas.height] = [toWidth, toHeight];
  }
  pixels.clearRect(0, 0, toWidth, toHeight); // pictures can be transparent
  pixels.drawImage(image, 0, 0, toWidth, toHeight);
  get('canvases').hidden = false;
  get('hint').hidden = true;
  get('stage').classList.add('filled');
  return pixels.getImageData(0, 0, toWidth, toHeight).data.buffer;
}

function paintLabels(labels) {
  const image = paint.createImageData(overlay.width, overlay.height), counts = new Array(description.classes.length).fill(0);
  for (let index = 0; index < labels.length; index++) {
    const [red, green, blue] = description.palette[labels[index]];
    counts[labels[index]]++;
    image.data.set([red, green, blue, 255], 4 * index);
  }
  paint.putImageData(image, 0, 0);
  showLegend(counts, labels.length);
}

async function predict(image, width, height) {
  const mine = turn, buffer = draw(image, width, height);
  const { labels, milliseconds } = await ask(
    { type: 'run', pixels: buffer, width: frame.width, height: frame.height }, [buffer]);
  if (mine !== turn) return;
  paintLabels(labels);
  get('latency').textContent = `${milliseconds.toFixed(0)} ms`;
}

async function showPicture(file, mine) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: 'none' });
  } catch {
    throw new Error(`${file.name} is not a picture or video that this browser can read: choose another file.`);
  }
  if (mine !== turn) return;
  say(`Segmenting ${file.name}.`);
  await predict(bitmap, bitmap.width, bitmap.height);
  if (mine !== turn) return;
  get('throughput').textContent = '–';
  say(`${file.name}: ${frame.width} x ${frame.height} pixels.`);
}

async function play(video, what, mine) {
  source = video;
  get('pause').disabled = false;
  get('pause').textContent = 'Pause';
  say(what);
  let started = performance.now(), frames = 0, shown = -1;
  video.addEventListener('play', () => { [started, frames] = [performance.now(), 0]; });
  try {
    await video.play();
    while (mine === turn && !video.ended) {
      if (video.error) throw new Error('The video is damaged from here on: choose another file.');
      if (video.srcObject?.getVideoTracks().every((track) => track.readyState === 'ended')) throw new Error('The camera was disconnected: connect it and start it again.');
      if (!video.paused && video.videoWidth && video.currentTime !== shown) {
        shown = video.currentTime;
        await predict(video, video.videoWidth, video.videoHeight);
        frames++;
        const seconds = (performance.now() - started) / 1000;
        if (mine === turn) get('throughput').textContent = `${(frames / seconds).toFixed(1)} frames/s`;
        if (seconds > 5) [started, frames] = [performance.now(), 0];
      }
      await new Promise(requestAnimationFrame);
    }
    if (mine === turn) say('The video is over. Open another file, or use the camera.');
  } catch (error) {
    if (mine === turn) throw error; // play() is also rejected when another file is opened
  } finally {
    if (mine === turn) stop();
    else release(video);
  }
}

function release(video) {
  video.pause();
  video.srcObject?.getTracks().forEach((track) => track.stop());
  if (video.src) URL.revokeObjectURL(video.src);
}

function stop() {
  turn++;
  get('pause').disabled = true;
  if (source) release(source);
  source = null;
  return turn;
}

function newVideo() {
  const video = document.createElement('video');
  video.muted = video.playsInline = true;
  return video;
}

async function openFile(file) {
  const mine = stop();
  if (!file.type.startsWith('video/')) return showPicture(file, mine);
  const video = newVideo();
  video.src = URL.createObjectURL(file);
  await new Promise((resolve, reject) => {
    video.onloadeddata = resolve;
    video.onerror = () => reject(new Error(`This browser cannot play ${file.name}: convert it to H.264 or WebM.`));
  });
  return mine === turn ? play(video, `Playing ${file.name}.`, mine) : release(video);
}

const CAMERA_ERRORS = {
  NotAllowedError: 'Access to the camera was denied: allow it in the browser’s settings for this page.',
  NotReadableError: 'The camera is in use or does not answer: close other programs that use it, or connect the camera again.',
};

async function useCamera() {
  const mine = stop();
  if (!navigator.mediaDevices) throw new Error('Browsers allow the camera only on https pages and on localhost: serve the page over https, or open it on localhost.');
  const video = newVideo();
  say('Waiting for the camera.');
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment', width: { ideal: 640 } } });
  } catch (error) {
    throw new Error(CAMERA_ERRORS[error.name] ?? 'No camera was found: connect one, or open a file.');
  }
  return mine === turn ? play(video, 'Segmenting the camera image.', mine) : release(video);
}

// --- Controls ---

const guarded = (action) => (...values) => Promise.resolve(action(...values)).catch((error) => fail(error.message));
const ready = () => !get('open').disabled;

get('open').addEventListener('click', () => get('file').click());
get('file').addEventListener('change', guarded(async ({ target }) => {
  const [file] = target.files;
  target.value = '';
  if (file) await openFile(file);
}));
get('camera').addEventListener('click', guarded(useCamera));
get('pause').addEventListener('click', () => {
  source.paused ? source.play() : source.pause();
  get('pause').textContent = source.paused ? 'Resume' : 'Pause';
});
get('opacity').addEventListener('input', ({ target }) => {
  overlay.style.opacity = target.value / 100;
  get('opacity-value').textContent = `${target.value} %`;
});
for (const kind of ['dragover', 'dragleave', 'drop']) {
  get('stage').addEventListener(kind, guarded(async (event) => {
    event.preventDefault();
    get('stage').classList.toggle('over', kind === 'dragover');
    const file = kind === 'drop' && event.dataTransfer.files[0];
    if (file && ready()) await openFile(file);
  }));
}
// A file dropped beside the stage would replace the page.
for (const kind of ['dragover', 'drop']) addEventListener(kind, (event) => event.preventDefault());
guarded(load)();
