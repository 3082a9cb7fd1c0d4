"use strict";
// Plays the sentence: the audio is the clock, the heads follow.

(() => {
  const rig = new Rig(readJson("face-data"));
  const element = (id) => document.getElementById(id);
  const [audio, play, scrubber, clock, rate] = ["audio", "play", "scrubber", "clock", "rate"].map(element);
  const duration = Math.max((rig.frames - 1) / rig.fps, 1 / rig.fps);
  const turn = { yaw: 0.22, pitch: 0.04 };
  const heads = [];
  let now = 0;
  let playing = false;
  let last = 0; // time of the last frame while the audio cannot be the clock
  let silent = audio.error !== null; // no sound: the clock of the page does

  for (const canvas of document.querySelectorAll("canvas.head")) {
    const which = canvas.closest("figure").querySelector(".which");
    which.addEventListener("change", draw);
    try {
      heads.push({ head: new Head(canvas, rig), which });
    } catch {
      const message = document.createElement("p");
      message.textContent = "This browser offers no WebGL, so the head cannot be shown. Sound, tables and plots work without it.";
      canvas.replaceWith(message);
      continue;
    }
    dragToTurn(canvas);
    new ResizeObserver(draw).observe(canvas);
  }

  function dragToTurn(canvas) {
    let from = null;
    canvas.addEventListener("pointerdown", (event) => {
      from = event;
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!from) return;
      turn.yaw = clamp(turn.yaw + (event.clientX - from.clientX) * 0.008, 1.5);
      turn.pitch = clamp(turn.pitch + (event.clientY - from.clientY) * 0.006, 0.7);
      from = event;
      draw();
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { from = null; });
  }

  const clamp = (value, limit) => Math.min(Math.max(value, -limit), limit);

  function draw() {
    for (const { head, which } of heads) head.draw(which.value, now, turn.yaw, turn.pitch);
    scrubber.value = now;
    scrubber.setAttribute("aria-valuetext", `${now.toFixed(1)} seconds`);
    clock.textContent = `${now.toFixed(1)} / ${duration.toFixed(1)} s`;
  }

  function tick(time) {
    if (!playing) return;
    if (silent) now += ((time - last) / 1000) * Number(rate.value);
    else now = audio.currentTime;
    last = time;
    // A sound that is shorter than the movement hands the clock over at its end.
    if (!silent && audio.ended) silent = true;
    if (now >= duration) [now, playing] = [duration, false];
    draw();
    if (playing) requestAnimationFrame(tick);
    else pause();
  }

  function start() {
    if (now >= duration - 1e-3) now = 0;
    silent = audio.error !== null || now >= audio.duration;
    if (!silent) {
      audio.currentTime = now;
      audio.playbackRate = Number(rate.value);
      audio.play().catch(() => { silent = true; }); // interrupted or not allowed: go on unheard
    }
    playing = true;
    label();
    last = performance.now();
    requestAnimationFrame(tick);
  }

  function pause() {
    playing = false;
    audio.pause();
    label();
  }

  function label() {
    element("play-icon").textContent = playing ? "❚❚" : "▶";
    element("play-word").textContent = playing ? "Pause" : "Play";
  }

  const toggle = () => (playing ? pause() : start());

  function seek(seconds) {
    now = Math.min(Math.max(seconds, 0), duration);
    if (!silent) audio.currentTime = now;
    draw();
  }

  scrubber.max = duration;
  scrubber.addEventListener("input", () => seek(Number(scrubber.value)));
  rate.addEventListener("change", () => { audio.playbackRate = Number(rate.value); });
  play.addEventListener("click", toggle);
  document.addEventListener("keydown", (event) => {
    const at = event.target;
    const elsewhere = at.closest("select, summary, a, .scroll") || (at.closest("button") && at !== play);
    if (elsewhere || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === " " && at !== play) toggle(); // on the button the browser clicks by itself
    else if (step) seek(now + step / rig.fps);
    else return;
    event.preventDefault();
  });
  draw();
})();
