// The net of reference/mnist/model.py, by hand. WEIGHTS: name -> float32 values, little endian, in base64.
const net = {};
for (const [name, values] of Object.entries(WEIGHTS)) {
  const raw = Uint8Array.from(atob(values), (letter) => letter.charCodeAt(0));
  net[name] = new Float32Array(raw.buffer);
}

// Half to even, as Python and torch do it.
const round = (x) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));

// Ink, one byte a pixel -> 28x28: crop, shrink by area to 20 pixels, centre of mass to the middle. null: no ink.
function likeMnist(ink, width, height) {
  let top = height, bottom = -1, left = width, right = -1;
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
    if (ink[y * width + x] === 0) continue;
    top = Math.min(top, y); bottom = Math.max(bottom, y);
    left = Math.min(left, x); right = Math.max(right, x);
  }
  if (bottom < 0) return null;
  const H = bottom - top + 1, W = right - left + 1, scale = 20 / Math.max(H, W);
  const h = Math.max(1, round(H * scale)), w = Math.max(1, round(W * scale));
  const small = new Float32Array(h * w);
  let mass = 0, massY = 0, massX = 0;
  for (let i = 0; i < h; i++) for (let j = 0; j < w; j++) {
    const y0 = Math.floor(i * H / h), y1 = Math.ceil((i + 1) * H / h);
    const x0 = Math.floor(j * W / w), x1 = Math.ceil((j + 1) * W / w);
    let sum = 0;
    for (let y = y0; y < y1; y++) for (let x = x0; x < x1; x++) sum += ink[(top + y) * width + left + x];
    const mean = sum / ((y1 - y0) * (x1 - x0));
    small[i * w + j] = mean;
    mass += mean; massY += mean * i; massX += mean * j;
  }
  const at = (centre, n) => Math.min(Math.max(round(14 - centre), 0), 28 - n);
  const y = at(massY / mass, h), x = at(massX / mass, w), image = new Uint8Array(784);
  for (let i = 0; i < h; i++) for (let j = 0; j < w; j++) image[(y + i) * 28 + x + j] = round(small[i * w + j]);
  return image;
}

// (C, n, n) -> (K, m, m) with weights (K, C, k, k), without a bias.
function convolve(input, C, n, weight, K, k, stride) {
  const m = Math.floor((n - k) / stride) + 1, output = new Float32Array(K * m * m);
  for (let o = 0; o < K; o++) for (let y = 0; y < m; y++) for (let x = 0; x < m; x++) {
    let sum = 0;
    for (let c = 0; c < C; c++) for (let i = 0; i < k; i++) for (let j = 0; j < k; j++) {
      sum += input[(c * n + y * stride + i) * n + x * stride + j] * weight[((o * C + c) * k + i) * k + j];
    }
    output[(o * m + y) * m + x] = sum;
  }
  return output;
}

function pool(input, C, n) {
  const m = n / 2, output = new Float32Array(C * m * m);
  for (let c = 0; c < C; c++) for (let y = 0; y < m; y++) for (let x = 0; x < m; x++) {
    const at = (c * n + 2 * y) * n + 2 * x;
    output[(c * m + y) * m + x] = Math.max(input[at], input[at + 1], input[at + n], input[at + n + 1]);
  }
  return output;
}

// Batch norm in eval mode is a scale and a shift for each channel; relu after it.
const normed = (input, scale, shift, area) =>
  input.map((value, i) => Math.max(0, value * scale[Math.floor(i / area)] + shift[Math.floor(i / area)]));

// image: 784 bytes -> 10 logits.
function logits(image) {
  const first = net.scale1.length, second = net.scale2.length;
  let x = Float32Array.from(image, (byte) => (byte - MEAN) / STD);
  x = pool(convolve(x, 1, 28, net.conv1, first, 5, 2), first, 12);
  x = normed(x, net.scale1, net.shift1, 36);
  x = normed(convolve(x, first, 6, net.conv2, second, 3, 1), net.scale2, net.shift2, 16);
  return Array.from(net.bias, (bias, digit) => {
    let sum = bias;  // torch flattens the channels last: (4, 4, second)
    for (let c = 0; c < second; c++) for (let i = 0; i < 16; i++) {
      sum += x[c * 16 + i] * net.linear[(digit * 16 + i) * second + c];
    }
    return sum;
  });
}

async function read(ink, width, height) {
  const image = likeMnist(ink, width, height);
  if (image === null) return null;
  const z = logits(image), largest = Math.max(...z), e = z.map((one) => Math.exp(one - largest));
  const total = e.reduce((a, b) => a + b);
  return { image, probabilities: e.map((one) => one / total) };
}
