'use strict'

// Tags: whatever carries one that is invalidated is gone, fresh or stale.

const { FEATURES, where } = require('./features.js')
const { someTags } = require('./fields.js')

const invalidateTags = {
  weight: 4,
  fields: { tags: someTags },
  async run(cache, { tags }) {
    await cache.invalidateTags(...tags)
  },
  apply: (model, { tags }) => ({ value: model.invalidate(tags) }),
}

module.exports = { TAGS: where(FEATURES.loader, { invalidateTags }) }
