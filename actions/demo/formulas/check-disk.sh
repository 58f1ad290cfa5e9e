#!/usr/bin/env bash
echo "one disk of three is full" >&2
exit 3
