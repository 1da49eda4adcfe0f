"use strict";
/* Pictures that are zoomed and moved by wheel, drag, pinch, double click and keys. */

/**
 * Have the pictures in `box` in the elements that match `views` zoomed and moved, all in step.
 * swipe: called with 1 or -1 for the next or the one before, where a whole picture is swiped.
 */
gallery.zoom = (box, views, swipe = () => {}) => {
  const FARTHEST = 8; // times the picture's own size
  const SWIPED = 60; // pixels
  const all = () => [box, ...box.querySelectorAll(views)].filter((one) => one.matches(views));
  const pictureOf = (view) => view?.querySelector("img");
  const fingers = new Map(); // places by the pointer's id
  let [scale, x, y] = [1, 0.5, 0.5]; // times the whole picture; the point of it in the middle
  let began = null;

  /** How much larger than the whole picture in its view its own pixels are. */
  const own = (picture) => picture.naturalWidth / (picture.clientWidth || 1) / window.devicePixelRatio;
  const between = (least, value, most) => Math.min(Math.max(value, least), most);
  /** A point that leaves no more room beside the picture than there has to be. */
  const kept = (point, size, room) => (size * scale <= room ? 0.5 : between(room / size / scale / 2, point, 1 - room / size / scale / 2));

  const show = () => {
    box.classList.toggle("zoomed", scale > 1);
    for (const view of all()) {
      view.style.touchAction = scale > 1 ? "none" : "pan-y";
      for (const picture of view.querySelectorAll("img")) {
        const { clientWidth: width, clientHeight: height } = picture;
        const [left, top] = [0.5 - kept(x, width, view.clientWidth), 0.5 - kept(y, height, view.clientHeight)];
        picture.style.transform = scale > 1 ? `translate(${left * width * scale}px, ${top * height * scale}px) scale(${scale})` : "";
      }
    }
  };

  /** Zoom, with what is at this place of the window staying there. */
  const to = (wanted, view, place) => {
    const picture = pictureOf(view);
    if (!picture) return;
    const { left, top, width, height } = view.getBoundingClientRect();
    const [dx, dy] = place ? [place.x - left - width / 2, place.y - top - height / 2] : [0, 0];
    const { clientWidth, clientHeight } = picture;
    [x, y] = [kept(x, clientWidth, width), kept(y, clientHeight, height)];
    const point = [x + dx / clientWidth / scale, y + dy / clientHeight / scale];
    scale = between(1, wanted, Math.max(own(picture), 1) * FARTHEST);
    x = kept(point[0] - dx / clientWidth / scale, clientWidth, width);
    y = kept(point[1] - dy / clientHeight / scale, clientHeight, height);
    show();
  };

  const move = (view, dx, dy) => {
    const picture = pictureOf(view);
    if (!picture || scale <= 1) return;
    x = kept(x - dx / picture.clientWidth / scale, picture.clientWidth, view.clientWidth);
    y = kept(y - dy / picture.clientHeight / scale, picture.clientHeight, view.clientHeight);
    show();
  };

  const reset = () => {
    [scale, x, y] = [1, 0.5, 0.5];
    show();
  };
  /** Between the whole picture and its own pixels, or twice its size where those are fewer. */
  const toggle = (view = all()[0], place = null) => {
    if (scale > 1) reset();
    else if (pictureOf(view)) to(Math.max(own(pictureOf(view)), 2), view, place);
  };

  const viewOf = ({ target }) => (target.closest?.(views) && !target.closest("video, audio, button") ? target.closest(views) : null);
  box.addEventListener("wheel", (event) => {
    const view = viewOf(event);
    if (!pictureOf(view)) return;
    event.preventDefault();
    // A pinch on a touchpad comes as a wheel with Ctrl, in smaller steps.
    to(scale * Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), view, event);
  }, { passive: false });
  box.addEventListener("dblclick", (event) => pictureOf(viewOf(event)) && toggle(viewOf(event), event));
  box.addEventListener("dragstart", (event) => viewOf(event) && event.preventDefault());

  const middle = () => {
    const places = [...fingers.values()];
    const [sumX, sumY] = places.reduce((sum, one) => [sum[0] + one.x, sum[1] + one.y], [0, 0]);
    return { x: sumX / places.length, y: sumY / places.length };
  };
  const spread = () => {
    const [one, other] = fingers.values();
    return other ? Math.hypot(one.x - other.x, one.y - other.y) : 0;
  };
  box.addEventListener("pointerdown", (event) => {
    const view = viewOf(event);
    if (!view || event.button) return;
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    began = fingers.size === 1 ? { view, x: event.clientX, y: event.clientY, pinched: false } : began;
    view.setPointerCapture(event.pointerId);
  });
  box.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    const [before, far] = [middle(), spread()];
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const after = middle();
    move(began.view, after.x - before.x, after.y - before.y);
    if (!far) return;
    began.pinched = true;
    to((scale * spread()) / far, began.view, after);
  });
  const lift = (event) => {
    if (!fingers.delete(event.pointerId) || fingers.size) return;
    const [dx, dy] = [event.clientX - began.x, event.clientY - began.y];
    const swiped = event.type === "pointerup" && event.pointerType === "touch" && scale === 1 && !began.pinched;
    if (swiped && Math.abs(dx) > SWIPED && Math.abs(dx) > 2 * Math.abs(dy)) swipe(dx < 0 ? 1 : -1);
  };
  for (const name of ["pointerup", "pointercancel"]) box.addEventListener(name, lift);
  new ResizeObserver(show).observe(box);

  const STEP = 80; // pixels
  const KEYS = {
    z: (view) => toggle(view), "+": (view) => to(scale * 1.4, view), "=": (view) => to(scale * 1.4, view), "-": (view) => to(scale / 1.4, view),
  };
  const MOVES = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  /** Do what a key says; return whether it says something. Arrows move what is zoomed. */
  const key = ({ key: name }, view = all()[0]) => {
    if (name in KEYS) KEYS[name](view);
    else if (scale > 1 && name in MOVES) move(view, ...MOVES[name].map((way) => way * STEP));
    else return false;
    return true;
  };
  return { key, reset, show, toggle, get zoomed() { return scale > 1; } };
};

/** Have the browser's way back close these dialogs, and F and a button show them on the full screen. */
gallery.whole = (() => {
  const isOurs = () => history.state?.at === "picture";
  let entered = isOurs(); // an entry of ours is the last: it stays there, for the next that opens
  const dialogs = [...document.querySelectorAll("dialog.whole")];

  window.addEventListener("popstate", () => {
    const open = dialogs.find((one) => one.open);
    const left = entered && history.state?.at === "page";
    entered = isOurs();
    if (left && open) open.close();
    else if (left) history.back(); // nothing is open: they want to leave the page
  });
  // A dialog cannot be on the full screen itself; the page can, which it covers.
  const full = () => {
    if (document.fullscreenElement) document.exitFullscreen();
    else document.documentElement.requestFullscreen?.().catch(() => gallery.tell(gallery.say("detail.no_full")));
  };
  for (const dialog of dialogs) {
    dialog.querySelector(".full").onclick = full;
    dialog.addEventListener("keydown", (event) => event.key === "F" && !event.target.matches("textarea") && !event.ctrlKey && !event.metaKey && full());
    dialog.addEventListener("close", () => document.fullscreenElement && document.exitFullscreen());
  }
  return {
    open: (dialog) => {
      if (!dialog.open) dialog.showModal();
      if (entered) return;
      history.replaceState({ at: "page" }, "");
      history.pushState({ at: "picture" }, "");
      entered = true;
    },
  };
})();
