#!/usr/bin/env bash
echo "rotating the deploy key, as approved by ${DISINTO_APPROVED_BY}"
