'use strict'

// The slot of a key in a cluster: CRC16 (XMODEM) of the name, of which 14 bits count. Names here have no hash tags.

const SLOTS = 16_384

function crc16(bytes) {
  let crc = 0
  for (const byte of bytes) {
    crc ^= byte << 8
    for (let bit = 0; bit < 8; bit++)
      crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff
  }
  return crc
}

const slotOf = (key) => crc16(Buffer.from(key)) % SLOTS

module.exports = { slotOf }
