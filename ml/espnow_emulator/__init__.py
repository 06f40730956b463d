"""The ESP-NOW radio: messages, parameters, channel, emulator."""
