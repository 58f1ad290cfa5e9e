#!/usr/bin/env bash
echo "this takes longer than it may"
sleep 600
