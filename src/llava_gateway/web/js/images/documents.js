// Documents on their way into a question: their pages are listed, a person chooses some, and each of these is a picture like any other.

/** Whether a file is a document by its type or its name. The gateway looks into it. @param {{name: string, file: File|null}} source */
export const isDocument = ({ name, file }) => /^(application\/pdf|image\/tiff|video\/.*)$/.test(file?.type ?? '') || /\.(pdf|tiff?|mp4|mov|webm|mkv|avi)$/i.test(name);
