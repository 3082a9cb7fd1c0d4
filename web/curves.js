const MARGIN = 8;

/**
 * Draw a strip for each channel, from 0 to 1, and its name.
 *
 * @param {HTMLCanvasElement} canvas its colours are those of its style: color, and for the curves
 *     accent-color
 * @param {import("./face.js").Face} face
 * @param {string[]} channels
 * @param {number} first the first frame that is shown
 * @param {number} frames that the width holds
 */
export function draw(canvas, face, channels, first, frames) {
  const ratio = devicePixelRatio;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  const context = canvas.getContext("2d");
  const style = getComputedStyle(canvas);
  context.scale(ratio, ratio);
  context.font = style.font;
  context.lineJoin = "round";
  const strip = height / channels.length;
  channels.forEach((channel, row) => {
    const [top, bottom] = [row * strip + MARGIN, (row + 1) * strip - MARGIN];
    context.strokeStyle = context.fillStyle = style.color;
    context.globalAlpha = 0.25;
    context.lineWidth = 1;
    line(context, [[0, bottom], [width, bottom]]);
    context.globalAlpha = 1;
    context.fillText(channel, 0, top + MARGIN);
    context.strokeStyle = style.accentColor;
    context.lineWidth = 2;
    const place = (value, i) => [(i * width) / frames, bottom - value * (bottom - top)];
    line(context, face.curve(channel, first).map(place));
  });
}

function line(context, points) {
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x, y);
  context.stroke();
}
