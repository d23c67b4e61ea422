/**
 * A picture that the server has sent as a data address. The page's policy loads none of these, so it is decoded here
 * and drawn.
 */

import { useEffect, useRef } from "react";

/** The bytes of a base64 data address with their type; null for any other address. */
export function decoded(address: string): Blob | null {
  const found = /^data:(image\/[\w.+-]+);base64,([A-Za-z0-9+/=]*)$/.exec(address);
  if (found === null) return null;
  const bytes = Uint8Array.from(atob(found[2] ?? ""), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: found[1] ?? "" });
}

export function Picture({ address, label, size }: { address: string; label: string; size: number }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const element = canvas.current;
    const blob = decoded(address);
    if (element === null || blob === null) return;
    let isWanted = true;
    void createImageBitmap(blob).then((bitmap) => {
      if (!isWanted) return;
      const share = size / Math.max(bitmap.width, bitmap.height);
      element.width = Math.round(bitmap.width * share);
      element.height = Math.round(bitmap.height * share);
      const context = element.getContext("2d");
      if (context === null) return;
      context.imageSmoothingEnabled = false;
      context.drawImage(bitmap, 0, 0, element.width, element.height);
    });
    return () => {
      isWanted = false;
    };
  }, [address, size]);
  return <canvas ref={canvas} className="picture" width={size} height={size} role="img" aria-label={label} />;
}
