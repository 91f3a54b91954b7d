"""Runs img2dataset in its own environment: `python peer.py URLS.txt FOLDER THREADS SHARD`.

Each image is decoded and encoded again at quality 50, not resized; nothing else is computed.
"""

import os
import sys

if __name__ == "__main__":  # its processes import this file
    from img2dataset import download  # type: ignore[import-not-found]

    urls, folder, threads, shard = sys.argv[1:]
    download(
        url_list=urls,
        input_format="txt",
        output_folder=folder,
        output_format="files",
        processes_count=os.cpu_count() or 1,
        thread_count=int(threads),
        number_sample_per_shard=int(shard),
        resize_mode="no",
        encode_format="jpg",
        encode_quality=50,
        extract_exif=False,
        compute_hash=None,
    )
