"""The watched folder."""

from __future__ import annotations

import shutil
import time

from serving import rows_of, served, serving_folder, wait_until

from pellucid.acquisition.files import image_files


def test_a_watched_folder_is_inspected_once(model, cache, tmp_path, glass):
    folder = serving_folder(tmp_path, model)
    watched = tmp_path / "camera"
    watched.mkdir()
    files = image_files(glass / "normal_test")[:4] + image_files(glass / "abnormal_test")[:2]
    for file in files[:3]:
        shutil.copy(file, watched / file.name)
    with served(folder, "--no-pages", "--watch", str(watched), env=cache):
        wait_until(lambda: len(rows_of(folder)) == 3)
        slow = watched / "slow.png"
        content = files[3].read_bytes()
        with slow.open("wb") as stream:  # a camera that writes in pieces
            for k in range(0, len(content), len(content) // 4 + 1):
                stream.write(content[k : k + len(content) // 4 + 1])
                stream.flush()
                time.sleep(0.5)
        (watched / ".hidden.png").write_bytes(content)
        (watched / "notes.txt").write_text("no image")
        (watched / "broken.png").write_bytes(b"\x89PNG broken")
        (watched / "lot 7").mkdir()
        shutil.copy(files[4], watched / "lot 7" / "a.png")
        wait_until(lambda: len(rows_of(folder)) == 5)
        time.sleep(1.5)
        rows = rows_of(folder)
    assert sorted(r["file"] for r in rows) == sorted([*(f.name for f in files[:3]), "slow.png", "lot 7/a.png"])
    assert {r["source"] for r in rows} == {"watch"}
    shutil.copy(files[5], watched / "next.png")
    with served(folder, "--no-pages", "--watch", str(watched), env=cache) as service:
        wait_until(lambda: len(rows_of(folder)) == 6)
        time.sleep(1.5)
        assert len(rows_of(folder)) == 6, "a restart inspects none again"
        assert "Traceback" not in service.log()
