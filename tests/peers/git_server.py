"""Serves the bare Git repositories of a folder over smart HTTP, for reading.

    git_server.py ROOT --host 127.0.0.1 --port 8088

`http://HOST:PORT/NAME.git` is the repository NAME.git of ROOT. Pushing goes to its folder.
"""

import argparse
import gzip
import os
import pathlib
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

SERVICE = "git-upload-pack"
# One line of the protocol with its length before it, then the end of the section.
ANNOUNCEMENT = b"001e# service=git-upload-pack\n0000"


class Handler(BaseHTTPRequestHandler):
    root = pathlib.Path()

    def do_GET(self):
        url = urlsplit(self.path)
        repository = self.repository(url.path, "/info/refs")
        if repository is None or url.query != f"service={SERVICE}":
            self.send_error(404)
            return
        refs = self.upload_pack(["--http-backend-info-refs", repository], b"")
        # Version 2 of the protocol does without the announcement, and both sides take it.
        self.answer("advertisement", ANNOUNCEMENT + refs)

    def do_POST(self):
        repository = self.repository(urlsplit(self.path).path, f"/{SERVICE}")
        if repository is None:
            self.send_error(404)
            return
        self.answer("result", self.upload_pack([repository], self.body()))

    def repository(self, path, ending):
        """The folder that a path means; none when there is no such repository."""
        name = path.removesuffix(ending).removeprefix("/")
        known = {entry.name for entry in self.root.iterdir()}
        return str(self.root / name) if path.endswith(ending) and name in known else None

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            data = b"".join(parts)
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def upload_pack(self, args, request):
        version = {"GIT_PROTOCOL": self.headers["Git-Protocol"]} if "Git-Protocol" in self.headers else {}
        command = ["git", "upload-pack", "--stateless-rpc", *args]
        done = subprocess.run(command, input=request, stdout=subprocess.PIPE, env={**os.environ, **version})
        return done.stdout

    def answer(self, what, content):
        self.send_response(200)
        self.send_header("Content-Type", f"application/x-{SERVICE}-{what}")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-cache")
        self.end_headers()
        self.wfile.write(content)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=pathlib.Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    args = parser.parse_args()
    Handler.root = args.root
    ThreadingHTTPServer((args.host, args.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
