// KafkaJS ships gzip only. These add the other codecs: JavaScript for snappy, a shipped library for lz4, WebAssembly for zstd.
import kafkajs from 'kafkajs'
import snappy from 'kafkajs-snappy'
import lz4 from 'lz4-napi'
import { Zstd } from '@hpcc-js/wasm-zstd'

const { CompressionTypes, CompressionCodecs } = kafkajs
const zstd = await Zstd.load()

const codec = (compress, decompress) => () => ({
  compress: async encoder => Buffer.from(compress(encoder.buffer)),
  decompress: async buffer => Buffer.from(decompress(buffer)),
})

CompressionCodecs[CompressionTypes.Snappy] = snappy
CompressionCodecs[CompressionTypes.LZ4] = codec(b => lz4.compressFrameSync(b), b => lz4.decompressFrameSync(b))
CompressionCodecs[CompressionTypes.ZSTD] = codec(b => zstd.compress(b), b => zstd.decompress(b))
