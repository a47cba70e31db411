"""How the server speaks with a visitor's kernel (named in `config/voila.json`)."""

from __future__ import annotations

import math
import time
from queue import Empty

from jupyter_client.asynchronous import AsyncKernelClient


class PromptClient(AsyncKernelClient):
    """Goes on as soon as the kernel has answered.

    Jupyter's own client then listens, for a fifth of a second, whether the kernel says anything else; whoever runs
    cells knows what belongs to them by its header, and a visitor waits for that fifth.
    """

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Return when the kernel answers and what it prints arrives.

        Raises RuntimeError when it dies before, or after ``timeout`` seconds.
        """
        end = time.monotonic() + (math.inf if timeout is None else timeout)
        while True:
            self.kernel_info()
            try:
                reply = await self.shell_channel.get_msg(timeout=1)
                if reply["msg_type"] == "kernel_info_reply":
                    await self.iopub_channel.get_msg(timeout=0.2)
                    self._handle_kernel_info_reply(reply)
                    return
            except Empty:  # not yet there, or its output is not yet connected: ask again
                if not await self.is_alive():
                    raise RuntimeError("The kernel died before it answered.") from None
                if time.monotonic() > end:
                    raise RuntimeError(f"The kernel did not answer within {timeout:g} seconds.") from None
