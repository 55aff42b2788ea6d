<?php

return [
    'default' => 'file',
    'stores' => ['file' => ['driver' => 'file', 'path' => env('APP_SHARED') . '/cache']],
    'prefix' => 'story',
];
