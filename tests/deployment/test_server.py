"""The server's processes live and end with their workspace."""

import shutil
import time

from mlops_magics.serving import server


def test_a_server_whose_workspace_is_removed_ends_by_itself(workspace):
    server.start(workspace)
    running = server.processes(workspace)
    assert {"supervisor", "gateway"} <= set(running)
    shutil.rmtree(workspace.path)
    end = time.monotonic() + 30
    while any(one.alive() for one in running.values()) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [name for name, one in running.items() if one.alive()]
