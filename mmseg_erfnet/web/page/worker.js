// Runs the model in a worker, so that the page stays responsive. The model preprocesses frames itself: here only the
// order of the bytes changes, from a canvas's RGBA to the BGR that the model takes.
let session, ort;

async function load({ model, backend, threads }) {
  ort = await import(backend === 'webgpu' ? './runtime/ort.webgpu.min.mjs' : './runtime/ort.wasm.min.mjs');
  ort.env.wasm.wasmPaths = new URL('./runtime/', import.meta.url).href;
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = 'error';
  session = await ort.InferenceSession.create(model, { executionProviders: [backend] });
  return {};
}

async function run({ pixels, width, height }) {
  const rgba = new Uint8Array(pixels);
  const bgr = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < bgr.length; from += 4, to += 3) {
    bgr[to] = rgba[from + 2];
    bgr[to + 1] = rgba[from + 1];
    bgr[to + 2] = rgba[from];
  }
  const started = performance.now();
  const results = await session.run({ frames: new ort.Tensor('uint8', bgr, [1, height, width, 3]) });
  const labels = await results[session.outputNames[0]].getData();
  return { labels: labels.slice(), milliseconds: performance.now() - started };
}

async function answer({ data }) {
  try {
    postMessage({ id: data.id, result: await (data.type === 'load' ? load(data) : run(data)) });
  } catch (error) {
    postMessage({ id: data.id, error: String(error?.message ?? error) });
  }
}

// One after the other: a session runs one frame at a time.
let last = Promise.resolve();
addEventListener('message', (event) => { last = last.then(() => answer(event)); });
